import numpy as np
import pytest
import torch

from focvs.acquisition.degradation import make_degradation, random_degradation
from focvs.acquisition.grid import make_grid
from focvs.acquisition.interpolation import interpolation_matrix, spline_matrix
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile, rect_profile, slr_profile


@pytest.mark.parametrize("seed", range(12))
def test_constants_stay_and_weights_sum_to_one(seed):
    degrade = random_degradation(64, np.random.default_rng(seed))
    assert torch.allclose(degrade.slices.sum(1), torch.ones(len(degrade.slices)), atol=1e-5)
    flat = torch.full((3, 64), 0.7)
    assert torch.allclose(degrade(flat), flat, atol=1e-4)
    assert 1.8 <= degrade.spacing_px <= 10
    assert degrade.thickness_px <= 1.35 * degrade.spacing_px


@pytest.mark.parametrize("offset", [0.0, 0.3, 1.0])
def test_a_patch_is_seen_as_the_middle_of_a_long_column(offset):
    """Inside, the interpolated scan is that of the same slices laid over a column that really goes on."""
    profile, spacing, pixels = gaussian_profile(4.0), 5.0, 80
    degrade = make_degradation(profile, spacing, pixels, offset)
    patch = torch.randn(pixels, generator=torch.Generator().manual_seed(0))
    got = degrade(patch)
    # a slice centre of the patch lies where its row's centre of mass is
    centre = float((degrade.slices[8] * torch.arange(pixels)).sum())
    grid = make_grid(60, spacing, 1.0, 0.0)
    operator = ThroughPlaneOperator(profile, grid, "edge")
    first = round(float(grid.slice_centres_mm[30]) + (grid.voxels - 1) / 2 - centre)
    shifted = torch.zeros(grid.voxels, dtype=torch.float64)
    shifted[first : first + pixels] = patch.double()
    whole = operator(shifted) @ interpolation_matrix(operator).T
    inside = slice(25, 55)
    assert torch.allclose(got[inside], whole[first : first + pixels][inside].float(), atol=2e-3)


def test_the_interpolated_scan_reproduces_its_slices():
    for profile in (gaussian_profile(4.0), rect_profile(3.0), slr_profile(4.0)):
        operator = ThroughPlaneOperator(profile, make_grid(12, 4.0, 1.0), "edge")
        scan = torch.randn(5, 12, dtype=torch.float64)
        assert torch.allclose(operator(scan @ interpolation_matrix(operator).T), scan)


def test_overlapping_slices_are_only_interpolated():
    operator = ThroughPlaneOperator(gaussian_profile(5.0), make_grid(24, 2.5, 1.0), "edge")
    assert operator.condition_number > 10
    assert torch.equal(interpolation_matrix(operator), spline_matrix(operator.grid, margins=False))


def test_noise_is_that_of_the_slices():
    degrade = make_degradation(gaussian_profile(4.0), 4.0, 64)
    noise = torch.zeros(1, len(degrade.slices))
    noise[0, 9] = 1
    difference = degrade(torch.zeros(1, 64), 0.5, noise) - degrade(torch.zeros(1, 64))
    assert torch.allclose(difference[0], 0.5 * degrade.interpolate[:, 9], atol=1e-6)
    assert float((difference @ degrade.slices.T)[0, 9]) == pytest.approx(0.5, abs=1e-4)


@pytest.mark.parametrize("profile", [gaussian_profile(5.0), rect_profile(5.0), slr_profile(5.0)], ids=lambda p: p.kind)
def test_a_scaled_profile_is_the_same_in_other_units(profile):
    z = torch.linspace(-6, 6, 50, dtype=torch.float64)
    scaled = profile.scaled(1 / 0.8)
    assert scaled.fwhm_mm == pytest.approx(5 / 0.8)
    assert torch.allclose(scaled.cumulative(z / 0.8), profile.cumulative(z), atol=1e-9)
