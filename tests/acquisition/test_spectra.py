"""Spectra of windows: white noise stays white, and a profile takes from it what its transfer function says."""

import math

import pytest
import torch

from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.spectra import WINDOW, mean_spectra, view_through, window_slices

SIZE = (96, 90, 30)


@pytest.fixture(scope="module")
def white():
    return torch.randn(SIZE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_windows_are_shorter_in_a_scan_of_few_slices():
    mask = torch.ones(SIZE, dtype=torch.bool)
    assert window_slices(mask, (1.0, 1.0), 4.0) == WINDOW
    assert window_slices(mask[..., :10], (1.0, 1.0), 4.0) < WINDOW


def test_a_view_through_a_profile_loses_what_its_transfer_function_says(white):
    """Of a cosine along an in-plane axis, exp(-2 (pi f s)^2) of a Gaussian of standard deviation s is left."""
    fwhm, spacing = 4.0, 2.0
    sigma = fwhm / (2 * math.sqrt(2 * math.log(2)))
    period = 16.0
    wave = torch.cos(2 * math.pi * torch.arange(96, dtype=torch.float64) / period)[:, None, None].expand(96, 5, 3)
    mask = torch.ones(wave.shape, dtype=torch.bool)
    seen, inside = view_through(wave, mask, 0, 1.0, spacing, [gaussian_profile(fwhm)])
    left = math.exp(-2 * (math.pi * sigma / period) ** 2)
    assert seen.shape[:3] == (1, 5, 3) and inside.all()
    assert float(seen.abs().max()) == pytest.approx(left, rel=0.03)
    assert view_through(wave, mask, 0, 1.0, spacing, [gaussian_profile(90.0)]) is None


def test_noise_alone_is_white_across_slices(white):
    mask = torch.ones(SIZE, dtype=torch.bool)
    _, (in_plane, through_plane), count = mean_spectra(white, mask, (1.0, 1.0), 4.0, gaussian_profile(4.0))
    assert count > 100
    assert through_plane[2:].std() < 0.2 * through_plane[2:].mean()
    assert in_plane[-1] < 0.7 * in_plane[2]  # the profile takes the high frequencies
