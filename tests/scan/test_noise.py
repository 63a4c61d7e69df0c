"""The noise of a scan, in the head and in the air around it."""

import numpy as np
import pytest
import torch

from focvs.acquisition.phantom import head_phantom
from focvs.scan.noise import background_noise, estimate_noise, noise_of_air
from focvs.scan.scan import read_scan
from focvs.scan.slices import take_slices
from scans import write_scan


@pytest.mark.parametrize("sigma", [0.01, 0.05])
def test_noise_of_a_smooth_image_is_found(sigma):
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 1, 64)[:, None, None] * np.linspace(1, 2, 64)[None, :, None] * np.ones(12)
    scan = torch.from_numpy(ramp + rng.normal(0, sigma, ramp.shape))
    mask = torch.ones(scan.shape, dtype=torch.bool)
    assert estimate_noise(scan, mask) == pytest.approx(sigma, rel=0.05)
    assert estimate_noise(scan, torch.zeros_like(mask)) == 0


def test_anatomy_counts_for_less_than_half_again():
    clean = torch.from_numpy(head_phantom((128, 144, 40), seed=1)[0])
    mask = clean > 0.1
    noisy = clean + 0.03 * torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    assert estimate_noise(clean, mask) < 0.02
    assert 0.03 < estimate_noise(noisy, mask) < 0.045


@pytest.fixture
def air():
    return torch.ones(70, 70, 8, dtype=torch.bool)


def complex_noise(sigma, channels=2):
    return sigma * np.random.default_rng(0).standard_normal((channels, 70, 70, 8))


def test_air_has_the_noise_of_both_channels(air):
    """Rayleigh: the magnitude of two channels of sigma is sigma, not its own standard deviation of 0.655 sigma."""
    magnitude = torch.from_numpy(np.hypot(*complex_noise(3.0)))
    assert float(magnitude.std()) == pytest.approx(0.655 * 3, rel=0.02)
    assert background_noise(magnitude, air) == pytest.approx(3.0, rel=0.02)


def test_signed_air_has_its_standard_deviation(air):
    assert background_noise(torch.from_numpy(complex_noise(3.0)[0]), air) == pytest.approx(3.0, rel=0.02)


def test_air_that_is_no_noise_says_nothing(air):
    magnitude = torch.from_numpy(np.hypot(*complex_noise(3.0)))
    assert background_noise(torch.zeros(70, 70, 8), air) is None
    assert background_noise(magnitude + 10, air) is None  # an offset
    assert background_noise(torch.from_numpy(np.sqrt((complex_noise(3.0, 16) ** 2).sum(0))), air) is None  # eight coils
    assert background_noise(magnitude, ~air) is None
    assert background_noise(magnitude[:5], air[:5]) is None


def test_air_counts_where_the_head_does_not_tell(tmp_path):
    """A head of 8 pixels is too small for neighbourhoods of 7."""
    rng = np.random.default_rng(0)
    head = np.zeros((64, 64, 8))
    head[28:36, 28:36] = 1000
    data = np.hypot(head + 20 * rng.standard_normal(head.shape), 20 * rng.standard_normal(head.shape))
    path = write_scan(tmp_path / "scan.nii.gz", data.astype(np.float32), np.diag([1.0, 1.0, 4.0, 1.0]))
    scan = read_scan(path)
    found = take_slices(scan)
    assert found.noise_intensity == pytest.approx(20, rel=0.03)
    data[np.asarray(head == 0)] = 0
    masked = read_scan(write_scan(tmp_path / "masked.nii.gz", data.astype(np.float32), np.diag([1.0, 1.0, 4.0, 1.0])))
    assert noise_of_air(masked) is None
    assert take_slices(masked).noise_prior == 0
