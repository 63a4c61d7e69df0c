"""Simulated acquisitions of patches: weights, phases, noise."""

import numpy as np
import pytest
import torch

from focvs.acquisition.degradation import make_degradation, random_degradation
from focvs.acquisition.profile import gaussian_profile


@pytest.mark.parametrize("seed", range(12))
def test_constants_stay_and_slices_are_those_of_clinics(seed):
    degrade = random_degradation(64, np.random.default_rng(seed))
    assert torch.allclose(degrade.matrix.sum(1), torch.ones(degrade.slices, dtype=torch.float64), atol=1e-9)
    flat = torch.full((3, 64), 0.7)
    assert torch.allclose(degrade.interpolated(flat), flat, atol=1e-4)
    assert 1.8 <= degrade.spacing_px <= 10
    assert degrade.thickness_px <= 1.35 * degrade.spacing_px


@pytest.mark.parametrize("pixels", [64, 65])
@pytest.mark.parametrize("spacing", [3.0, 4.7])
def test_phases_are_what_they_say(pixels, spacing):
    """The middle of the patch lies ``phase`` spacings beyond a slice centre, to a part of a pixel."""
    for phase in (0.0, 0.125, 0.5, 0.9):
        degrade = make_degradation(gaussian_profile(spacing), spacing, pixels, phase)
        weights = degrade.matrix / degrade.matrix.sum(1, keepdim=True)
        centres = weights @ (torch.arange(pixels, dtype=torch.float64) + 0.5)
        inside = (weights[:, 0] < 1e-6) & (weights[:, -1] < 1e-6)  # slices that lie in the patch altogether
        places = (pixels / 2 - centres[inside]) / spacing
        assert places.numel() >= 5
        assert ((places - phase) - (places - phase).round()).abs().max() < 2e-3


def test_a_patch_is_seen_as_the_middle_of_a_long_column():
    """Inside, the interpolated scan is that of the same slices laid over a column that really goes on."""
    profile, spacing = gaussian_profile(4.0), 5.0
    short, long = (make_degradation(profile, spacing, pixels, 0.3) for pixels in (80, 280))
    patch = torch.randn(80, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    column = torch.nn.functional.pad(patch, (100, 100))
    inside = slice(25, 55)
    whole = long.interpolated(column)[100:180]
    assert torch.allclose(short.interpolated(patch)[inside], whole[inside], atol=2e-3)


def test_noise_is_that_of_the_slices():
    degrade = make_degradation(gaussian_profile(4.0), 4.0, 64)
    noise = torch.zeros(1, degrade.slices)
    noise[0, 9] = 1
    difference = degrade.interpolated(torch.zeros(1, 64), 0.5, noise) - degrade.interpolated(torch.zeros(1, 64))
    assert torch.allclose(difference[0], 0.5 * degrade.interpolation[:, 9].float(), atol=1e-6)
    assert float(degrade(difference)[0, 9]) == pytest.approx(0.5, abs=1e-4)
