import torch

from focvs.acquisition.grid import ThroughPlaneGrid, make_grid
from focvs.acquisition.interpolation import interpolation_matrix, spline_matrix
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile, rect_profile, slr_profile


def test_the_interpolated_scan_reproduces_its_slices():
    for profile in (gaussian_profile(4.0), rect_profile(3.0), slr_profile(4.0)):
        operator = ThroughPlaneOperator(profile, make_grid(12, 4.0, 1.0), "edge")
        scan = torch.randn(5, 12, dtype=torch.float64)
        assert torch.allclose(operator(scan @ interpolation_matrix(operator).T), scan)


def test_overlapping_slices_are_only_interpolated():
    operator = ThroughPlaneOperator(gaussian_profile(5.0), make_grid(24, 2.5, 1.0), "edge")
    assert operator.condition_number > 10
    assert torch.equal(interpolation_matrix(operator), spline_matrix(operator.grid, margins=False))


def test_spline_matrix_interpolates_its_own_slices_and_keeps_constants():
    grid = make_grid(12, 4.0, 1.0, half_support_mm=4.0)
    matrix = spline_matrix(grid)
    assert matrix.shape == (grid.total, 12)
    assert torch.allclose(matrix.sum(1), torch.ones(grid.total).double(), atol=1e-9)
    inner = spline_matrix(grid, margins=False)
    assert torch.equal(inner, grid.crop(matrix.T).T)
    coarse = ThroughPlaneGrid(12, 4.0, 12, 4.0)
    assert torch.allclose(spline_matrix(coarse), torch.eye(12).double(), atol=1e-9)
    # an odd slice count puts a voxel centre on the middle slice
    odd = spline_matrix(ThroughPlaneGrid(11, 4.0, 43, 1.0))
    assert torch.allclose(odd[21], torch.eye(11).double()[5], atol=1e-9)
