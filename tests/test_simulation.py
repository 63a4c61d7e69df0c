import numpy as np
import pytest
import torch

from focvs.acquisition.grid import ThroughPlaneGrid, make_grid
from focvs.acquisition.interpolation import spline_matrix
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import make_profile
from focvs.acquisition.simulation import simulate_slices


@pytest.mark.parametrize("kind", ["gaussian", "rect", "slr", "kspace"])
@pytest.mark.parametrize(("thickness", "spacing"), [(4.0, 4.0), (4.0, 5.2), (6.0, 3.1)])
def test_simulation_agrees_with_the_operator(kind, thickness, spacing):
    """Two routes to the same slices: fine sums here, differences of the cumulative profile there."""
    profile = make_profile(kind, thickness)
    volume = np.random.default_rng(0).normal(size=(5, 83)).cumsum(1)
    slices = simulate_slices(volume, 0.9, profile, spacing)
    reach = make_grid(slices.shape[1], spacing, 0.9, profile.half_support_mm, keep_extent=False)
    margin = max(0, reach.margin + (reach.voxels - 83 + 1) // 2)
    grid = ThroughPlaneGrid(slices.shape[1], spacing, 83, 0.9, margin)
    expected = ThroughPlaneOperator(profile, grid, "edge")(torch.from_numpy(volume)).numpy()
    assert np.abs(slices - expected).max() < 5e-3 * volume.std()


def test_constants_stay_and_slices_must_fit():
    out = simulate_slices(np.full((2, 40), 7.0), 1.0, make_profile("gaussian", 5.0), 6.0)
    assert out.shape == (2, 6)
    assert np.allclose(out, 7.0, atol=1e-5)
    with pytest.raises(ValueError, match="no slice"):
        simulate_slices(np.ones((2, 4)), 1.0, make_profile("rect", 5.0), 6.0)


def test_phantom_is_a_head_in_air_and_repeats():
    clean, noisy = head_phantom((40, 48, 44), seed=3)
    again, other = head_phantom((40, 48, 44), seed=3)[0], head_phantom((40, 48, 44), seed=4)[0]
    assert np.array_equal(clean, again)
    assert not np.allclose(clean, other)
    assert clean[0].max() < 0.02
    assert (clean > 0.3).mean() > 0.2
    background = noisy[:, :3][clean[:, :3] < 1e-3]
    assert background.mean() == pytest.approx(0.01 * np.sqrt(np.pi / 2), rel=0.1)  # Rayleigh


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
