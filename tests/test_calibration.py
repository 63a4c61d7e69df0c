import pytest
import torch

from focvs.priors.calibration import BLOCK, ErrorTable, measure_errors


def test_white_errors_are_measured_as_they_are():
    """A denoiser that returns its input errs by the noise itself: variance sigma^2 at every frequency."""
    images, mask = torch.zeros(4, 1, 96, 96), torch.ones(4, 1, 96, 96, dtype=torch.bool)
    sigmas = torch.tensor([0.5, 0.1])
    table = measure_errors(lambda x, s: x, images, mask, sigmas, pixel_mm=1.0)
    assert table.sigmas.tolist() == pytest.approx([0.1, 0.5])
    assert torch.allclose(table.variance, table.sigmas[:, None].square().expand(2, BLOCK), rtol=0.1)


def test_coloured_errors_keep_their_colour():
    def lowpass(x, sigma):  # removes noise above a quarter of the Nyquist frequency along both axes
        spectrum = torch.fft.rfft2(x)
        rows = torch.fft.fftfreq(x.shape[-2]).abs()[:, None]
        columns = torch.fft.rfftfreq(x.shape[-1])[None]
        return torch.fft.irfft2(spectrum * ((rows < 0.125) & (columns < 0.125)), s=x.shape[-2:])

    images, mask = torch.zeros(6, 1, 128, 128), torch.ones(6, 1, 128, 128, dtype=torch.bool)
    variance = measure_errors(lowpass, images, mask, torch.tensor([0.2]), 1.0).variance[0]
    assert variance[2] > 50 * variance[BLOCK // 2]


def test_only_the_mask_counts():
    images, mask = torch.zeros(1, 1, 64, 96), torch.zeros(1, 1, 64, 96, dtype=torch.bool)
    with pytest.raises(ValueError, match="too small"):
        measure_errors(lambda x, s: x, images, mask, torch.tensor([0.2]), 1.0)
    mask[..., :48] = True

    def wrong_on_the_right(x, sigma):
        out = x.clone()
        out[..., 48:] = 100
        return out

    table = measure_errors(wrong_on_the_right, images, mask, torch.tensor([0.2]), 1.0)
    assert table.variance.max() < 0.1


def test_table_interpolates_over_noise_level_and_frequency_and_extends_by_sigma_squared():
    sigmas = torch.tensor([0.1, 0.4], dtype=torch.float64)
    frequency = torch.arange(8, dtype=torch.float64)
    table = ErrorTable(sigmas, sigmas[:, None] ** 2 * torch.exp(-frequency / 4), pixel_mm=1.0)
    wanted = torch.tensor([0.2, 0.05, 1.6], dtype=torch.float64)
    got = table.at(wanted, voxels=8, voxel_mm=1.0)
    assert torch.allclose(got, wanted[:, None] ** 2 * torch.exp(-frequency / 4), rtol=1e-9)
    # voxels of 2 mm reach half the frequencies in cycles per mm
    coarse = table.at(wanted, voxels=8, voxel_mm=2.0)
    assert torch.allclose(coarse, wanted[:, None] ** 2 * torch.exp(-frequency / 8), rtol=1e-9)


def test_round_trip(tmp_path):
    table = ErrorTable(torch.tensor([0.1, 0.4]), torch.rand(2, 8), 0.9)
    table.save(tmp_path / "calibration.safetensors")
    back = ErrorTable.load(tmp_path / "calibration.safetensors")
    assert torch.allclose(back.variance.float(), table.variance)
    assert back.pixel_mm == pytest.approx(0.9)
