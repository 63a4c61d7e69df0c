import numpy as np
import pytest
import torch
from scipy import ndimage

from fine_scans import filled_with_zeros
from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.scan.pixels import PixelGrid
from focvs.scan.scan import read_scan
from focvs.scan.slices import take_slices
from focvs.scan.zero_filling import averaging_factor, resolved_fraction
from scans import write_scan


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("part", [0.3, 0.5, 0.65, 0.8, 1.0])
def test_zero_filling_is_seen_in_the_spectrum(axis, part):
    slices = simulate_slices(head_phantom((112, 128, 96), seed=3)[1], 1.0, gaussian_profile(4.0), 4.0)
    scan = torch.from_numpy(filled_with_zeros(slices, axis, part)) if part < 1 else torch.from_numpy(slices)
    assert resolved_fraction(scan, axis) == pytest.approx(part, abs=0.03)
    assert resolved_fraction(scan, 1 - axis) == 1.0


def test_zero_filled_noise_is_found_and_averages_as_it_does(tmp_path):
    """White noise of the acquired matrix: the same estimate from the filled one, though it is smooth there."""
    rng = np.random.default_rng(0)
    clean = simulate_slices(1000 * head_phantom((112, 128, 96), seed=3)[0], 1.0, gaussian_profile(4.0), 4.0)
    acquired = clean + rng.normal(0, 20, clean.shape)
    filled = filled_with_zeros(filled_with_zeros(acquired, 0, 0.5), 1, 0.5)
    found = []
    for name, data, pixel in (("acquired", acquired, 1.2), ("filled", filled, 0.6)):
        affine = np.diag([pixel, pixel, 4.0, 1.0])
        scan = read_scan(write_scan(tmp_path / f"{name}.nii.gz", data.astype(np.float32), affine))
        slices = take_slices(scan)
        found.append(slices.noise_intensity)
    assert found[1] == pytest.approx(found[0], rel=0.07)
    assert found[0] == pytest.approx(20, rel=0.3)  # the phantom has fine texture
    assert averaging_factor(2, 1.0) == pytest.approx(0.5**0.5, rel=1e-3)
    white = rng.normal(0, 1, (400, 256, 1))
    smooth = np.real(np.fft.ifft(np.pad(np.fft.fft(white, axis=1)[:, :64], [(0, 0), (0, 192), (0, 0)]), axis=1))
    smooth /= smooth.std()
    averaged = PixelGrid((1, 2), (400, 256)).average(torch.from_numpy(smooth))
    assert averaging_factor(2, 0.5) == pytest.approx(float(averaged.std()), rel=0.02)


def test_an_empty_scan_resolves_its_pixels():
    assert resolved_fraction(torch.zeros(40, 40, 12), 0) == 1.0


@pytest.mark.parametrize("width", [0.8, 1.3, 2.0])
def test_smoothing_in_the_plane_is_no_zero_filling(width):
    """A Gaussian takes high frequencies ever faster; it has no edge."""
    slices = simulate_slices(head_phantom((112, 128, 96), seed=3)[1], 1.0, gaussian_profile(4.0), 4.0)
    smooth = torch.from_numpy(ndimage.gaussian_filter(slices, (width, width, 0)))
    assert [resolved_fraction(smooth, axis) for axis in (0, 1)] == [1.0, 1.0]
