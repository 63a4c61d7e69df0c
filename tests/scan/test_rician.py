import numpy as np
import pytest
import torch
from scipy import stats

from focvs.acquisition.simulation import rician
from focvs.scan.rician import remove_rician_bias, rician_bias, unbias
from focvs.scan.scan import read_scan
from scans import write_scan


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
