import pytest
import torch

from focvs.priors.calibration import BLOCK, measure_errors, measure_turned_errors, measure_volume_errors, wiener_errors
from focvs.priors.condition import ScanCondition


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


def test_a_conditioned_prior_is_measured_along_the_axis_of_its_scan():
    """A denoiser that returns the scan errs by what the scan lost, along either axis of the image."""
    images, mask = torch.randn(3, 1, 64, 96), torch.ones(3, 1, 64, 96, dtype=torch.bool)
    seen = []

    def scan_of(x):
        seen.append(tuple(x.shape))
        return ScanCondition(x.roll(1, -1), *torch.ones(3, len(x)))  # loses nothing but one pixel along the slice axis

    def denoise(x, sigma, condition):
        return condition.image

    table = measure_errors(denoise, images, mask, torch.tensor([0.1, 0.4]), 1.0, scan_of=scan_of)
    assert seen == [(3, 1, 64, 96), (3, 1, 96, 64)]
    # |1 - exp(i w)|^2 = 2 - 2 cos w, whatever the noise
    expected = 2 - 2 * torch.cos(torch.pi * torch.arange(BLOCK) / BLOCK)
    middle = slice(10, BLOCK - 2)  # where leakage between frequencies of a block is small
    assert torch.allclose(table.variance[0, middle], expected.double()[middle], rtol=0.15)
    assert torch.equal(table.variance[0], table.variance[1])


def test_volume_errors_are_measured_as_they_are():
    volume, mask = torch.zeros(40, 48, 64), torch.ones(40, 48, 64, dtype=torch.bool)
    table = measure_volume_errors(lambda x, s: x, volume, mask, torch.tensor([0.2]), 0.8)
    assert torch.allclose(table.variance, torch.tensor(0.04, dtype=torch.float64), rtol=0.1)
    assert table.pixel_mm == 0.8
    with pytest.raises(ValueError, match="too small"):
        measure_volume_errors(lambda x, s: x, volume, ~mask, torch.tensor([0.2]), 0.8)


def test_volume_errors_along_chosen_axes():
    """An error that changes from plane to plane is constant along the other two axes."""
    volume, mask = torch.zeros(64, 48, 40), torch.ones(64, 48, 40, dtype=torch.bool)
    planes = torch.randn(1, 64, 1, 1, generator=torch.Generator().manual_seed(0)).expand(1, *volume.shape)
    along = measure_volume_errors(lambda x, s: planes, volume, mask, torch.tensor([0.2]), 1.0, axes=(1, 2))
    assert along.variance[0, 0] > 100 * along.variance[0, 8:].max()
    across = measure_volume_errors(lambda x, s: planes, volume, mask, torch.tensor([0.2]), 1.0, axes=(0,))
    assert across.variance[0, 8:].mean() == pytest.approx(1, rel=0.5)


@pytest.mark.parametrize("short", [0, 1, None])
def test_a_conditioned_volume_prior_is_measured_along_the_axis_of_its_scan(short):
    """As the test of slices above; an axis too short for a run is left out."""
    shape = [96, 80, 64]
    if short is not None:
        shape[short] = 24
    volume, mask = torch.randn(shape), torch.ones(shape, dtype=torch.bool)
    seen = []

    def told(truth):
        seen.append(tuple(truth.shape))
        scan = truth.roll(1, -1)  # loses nothing but one voxel along the slice axis
        return lambda x, sigma: scan[None]

    sigmas = torch.tensor([0.4, 0.1])
    table = measure_turned_errors(told, volume, mask, sigmas, 0.9)
    turned = [(shape[2], shape[1], shape[0]), (shape[0], shape[2], shape[1])]
    assert seen == [order for axis, order in enumerate(turned) if axis != short]
    expected = 2 - 2 * torch.cos(torch.pi * torch.arange(BLOCK) / BLOCK)
    middle = slice(10, BLOCK - 2)
    assert torch.allclose(table.variance[0, middle], expected.double()[middle], rtol=0.15)
    assert torch.equal(table.variance[0], table.variance[1])
    assert table.pixel_mm == 0.9
    assert table.sigmas.tolist() == pytest.approx([0.1, 0.4])
    with pytest.raises(ValueError, match="too small"):
        measure_turned_errors(told, volume, ~mask, sigmas, 0.9)


def test_the_fallback_is_the_error_of_the_wiener_filter():
    generator = torch.Generator().manual_seed(0)
    images = 0.3 * torch.randn(8, 1, 96, 96, generator=generator) - 0.5
    mask = torch.ones_like(images, dtype=torch.bool)
    table = wiener_errors(images, mask, torch.tensor([0.6, 0.1]), 1.0)
    for row, sigma in zip(table.variance, (0.1, 0.6), strict=True):
        expected = torch.tensor(0.09 * sigma**2 / (0.09 + sigma**2), dtype=torch.float64)
        assert torch.allclose(row, expected, rtol=0.1)
    with pytest.raises(ValueError, match="too small"):
        wiener_errors(images, ~mask, torch.tensor([0.1]), 1.0)
