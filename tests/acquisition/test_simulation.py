import numpy as np
import pytest
import torch

from focvs.acquisition.grid import ThroughPlaneGrid, make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import make_profile
from focvs.acquisition.simulation import rician, simulate_slices


@pytest.fixture
def air():
    return torch.ones(70, 70, 8, dtype=torch.bool)


def test_rician_noise_has_its_moments():
    """At zero signal the magnitude is Rayleigh: mean sigma sqrt(pi / 2); far above, Gaussian of sigma."""
    rng = np.random.default_rng(0)
    air, head = rician(np.zeros(200_000), 0.1, rng), rician(np.ones(200_000), 0.1, rng)
    assert air.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.02)
    assert head.std() == pytest.approx(0.1, rel=0.02)


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
