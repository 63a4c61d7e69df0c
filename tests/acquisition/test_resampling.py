"""Resampling between turned grids: smooth functions stay themselves, the transpose is exact, the unseen is known."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation

from focvs.acquisition.resampling import GridResampling, Pass, spline_coefficients


def placed(shape, sizes, angles_deg, order=(0, 1, 2), centre=(0.0, 0.0, 0.0)):
    """A grid about ``centre`` whose axes are turned, then renamed."""
    affine = np.eye(4)
    affine[:3, :3] = (Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix() @ np.diag(sizes))[:, order]
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


OLD = (40, 44, 48)
OLD_AFFINE = placed(OLD, (1.0, 1.0, 1.0), (3, -4, 5), centre=(2, 3, 1))
GRIDS = [
    ((42, 40, 50), placed((42, 40, 50), (1.0, 1.0, 1.0), (3, -4, 5), centre=(1.5, 3, 1.2))),  # shifted only
    ((50, 36, 40), placed((50, 36, 40), (0.9, 1.2, 1.0), (0, 6, -4), (2, 0, 1))),
    ((30, 30, 44), placed((30, 30, 44), (1.2, 1.1, 0.8), (-8, 2, 15), (1, 2, 0), (3, -1, 2))),
    ((30, 36, 40), placed((30, 36, 40), (-1.1, 1.0, -1.0), (4, 5, 4), (1, 0, 2))),  # mirrored
]


def field(affine, shape):
    """A smooth function of the place in mm."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    x, y, z = np.moveaxis(index @ affine[:3, :3].T + affine[:3, 3], -1, 0)
    return torch.from_numpy(np.sin(x / 5) + np.cos(y / 6 + z / 7))


@pytest.mark.parametrize(("shape", "affine"), GRIDS)
def test_a_smooth_function_stays_itself(shape, affine):
    resampling = GridResampling(OLD, OLD_AFFINE, shape, affine)
    inner = torch.from_numpy(ndimage.binary_erosion(resampling.covered.numpy(), iterations=6))
    assert inner.sum() > 1000
    error = (resampling(field(OLD_AFFINE, OLD)) - field(affine, shape))[inner]
    assert float(error.abs().max()) < 1e-3


@pytest.mark.parametrize(("shape", "affine"), GRIDS)
def test_the_transpose_is_exact(shape, affine):
    resampling = GridResampling(OLD, OLD_AFFINE, shape, affine)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(OLD, generator=generator, dtype=torch.float64)
    y = torch.randn(shape, generator=generator, dtype=torch.float64)
    assert float((resampling(x) * y).sum()) == pytest.approx(float((x * resampling.adjoint(y)).sum()), rel=1e-10)


@pytest.mark.parametrize(("shape", "affine"), GRIDS)
def test_what_is_smooth_comes_back(shape, affine):
    """R^+ y is y's function again where the new grid reaches."""
    resampling = GridResampling(OLD, OLD_AFFINE, shape, affine)
    back = resampling.pseudo_inverse(field(affine, shape))
    reached = GridResampling(shape, affine, OLD, OLD_AFFINE).covered.numpy()
    inner = torch.from_numpy(ndimage.binary_erosion(reached, iterations=6))
    assert inner.sum() > 1000
    assert float((back - field(OLD_AFFINE, OLD))[inner].abs().max()) < 0.05  # of a range of 4


def test_covered_is_where_the_old_grid_reaches():
    affine = placed((20, 20, 20), (1.0, 1.0, 1.0), (0, 0, 0), centre=(10.0, 0.0, 0.0))
    old = placed((20, 20, 20), (1.0, 1.0, 1.0), (0, 0, 0))
    covered = GridResampling((20, 20, 20), old, (20, 20, 20), affine).covered
    assert covered[:10].all() and not covered[10:].any()


def test_the_same_grid_changes_nothing():
    x = torch.randn(OLD, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert torch.allclose(GridResampling(OLD, OLD_AFFINE, OLD, OLD_AFFINE)(x), x, atol=1e-10)


def test_the_coefficients_are_those_of_the_spline_through_the_samples():
    values = torch.randn(9, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    c = spline_coefficients(9) @ values
    assert torch.allclose((c[:-2] + 4 * c[1:-1] + c[2:]) / 6, values[1:-1])


def test_lines_with_places_of_their_own_agree_with_those_of_one_matrix():
    """A shear too small to matter takes the other way through the code."""
    x = torch.randn(7, 8, 20, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    straight, sheared = (Pass(2, (shear, 0.0, 0.9), 0.3, 22) for shear in (0.0, 1e-8))
    assert torch.allclose(straight.forward(x), sheared.forward(x), atol=1e-6)
    y = torch.randn(7, 8, 22, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert torch.allclose(straight.adjoint(y, 20), sheared.adjoint(y, 20), atol=1e-6)


def test_grids_turned_by_half_a_right_angle_about_two_axes_still_pair():
    affine = placed((30, 30, 30), (1.0, 1.0, 1.0), (40, 0, 40))
    resampling = GridResampling(OLD, np.eye(4), (30, 30, 30), affine)
    assert sorted(resampling.order) == [0, 1, 2]
