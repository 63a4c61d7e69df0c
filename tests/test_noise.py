"""The noise of a scan, in the head and in the air around it."""

import numpy as np
import pytest
import torch
from conftest import write_scan
from scipy import stats

from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.simulation import rician
from focvs.config import RunConfig
from focvs.scan.noise import background_noise, estimate_noise, noise_of_air
from focvs.scan.rician import remove_rician_bias, rician_bias, unbias
from focvs.scan.scan import read_scan
from focvs.scan.slices import take_slices


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


def test_rician_noise_has_its_moments():
    """At zero signal the magnitude is Rayleigh: mean sigma sqrt(pi / 2); far above, Gaussian of sigma."""
    rng = np.random.default_rng(0)
    air, head = rician(np.zeros(200_000), 0.1, rng), rician(np.ones(200_000), 0.1, rng)
    assert air.mean() == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.02)
    assert head.std() == pytest.approx(0.1, rel=0.02)


@pytest.mark.parametrize("ratio", [0, 0.3, 1, 3, 30])
def test_the_bias_is_that_of_the_rice_distribution(ratio):
    sigma = 7.0
    signal = torch.tensor([ratio * sigma], dtype=torch.float64)
    expected = stats.rice.mean(ratio, scale=sigma) - ratio * sigma
    assert float(rician_bias(signal, sigma)) == pytest.approx(expected, abs=1e-6)


def test_magnitudes_less_their_bias_have_the_signal_as_their_mean():
    """A ladder of plateaus from no signal to ten sigma; without the correction they are up to 1.25 sigma too bright."""
    rng = np.random.default_rng(0)
    levels = np.array([0, 1, 2, 3, 5, 10])
    signal = np.repeat(levels, 16)[:, None, None] * np.ones((1, 200, 12))
    magnitude = torch.from_numpy(rician(signal, 1.0, rng))
    found = remove_rician_bias(magnitude, 1.0)

    def means(image):
        return image.unflatten(0, (6, 16))[:, 2:-2].mean((1, 2, 3)).numpy() - levels

    assert means(magnitude)[0] == pytest.approx(np.sqrt(np.pi / 2), abs=0.02)
    assert np.abs(means(found)).max() < 0.25  # in air, where neighbourhoods have some signal by chance
    assert np.abs(means(found)[2:]).max() < 0.05 and means(magnitude)[2] > 0.2
    top = slice(82, 94)
    assert float((found - magnitude)[top].std()) < 0.1 * float(magnitude[top].std())  # the noise stays


def test_a_background_of_zeros_stays():
    rng = np.random.default_rng(0)
    magnitude = torch.from_numpy(rician(np.full((60, 400, 60), 1.0), 1.0, rng))
    magnitude[:20] = 0
    found = remove_rician_bias(magnitude, 1.0)
    assert float(found[:20].abs().max()) == 0
    # beside them the signal is no weaker than elsewhere
    assert float(found[20].mean()) == pytest.approx(float(found[21:].mean()), abs=0.05)


def test_only_magnitudes_have_a_bias(tmp_path):
    slices = np.full((40, 40, 8), 100.0)
    noise = 20 * np.random.default_rng(0).standard_normal((2, *slices.shape))
    signed, magnitude = slices * 0.2 + noise[0], np.hypot(slices + noise[0], noise[1])
    for name, data in (("signed", signed), ("magnitude", magnitude)):
        write_scan(tmp_path / f"{name}.nii.gz", data.astype(np.float32), np.diag([1.0, 1.0, 4.0, 1.0]))
    scan = read_scan(tmp_path / "signed.nii.gz")
    assert unbias(scan, 20.0) is scan
    scan = read_scan(tmp_path / "magnitude.nii.gz")
    found = unbias(scan, 20.0)
    assert scan.data.mean() - found.data.mean() == pytest.approx(float(rician_bias(torch.tensor(100.0), 20.0)), abs=0.1)
    assert "rician_bias=off" in found.warnings[-1]


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
    found = take_slices(scan, RunConfig())
    assert found.noise_sigma * found.scale / 2 == pytest.approx(20, rel=0.03)
    data[np.asarray(head == 0)] = 0
    masked = read_scan(write_scan(tmp_path / "masked.nii.gz", data.astype(np.float32), np.diag([1.0, 1.0, 4.0, 1.0])))
    assert noise_of_air(masked) is None
    assert take_slices(masked, RunConfig()).noise_sigma == 0
