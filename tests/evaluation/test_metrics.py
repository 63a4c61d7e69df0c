import numpy as np
import pytest
from scipy import ndimage

from focvs.evaluation.metrics import (
    _gradient_magnitude,
    edge_sharpness,
    gradient_similarity,
    high_frequency_error,
    mean_absolute_error,
    normalised_error,
    peak_signal_to_noise,
    spectrum_ratio,
    structural_similarity,
)


def test_psnr_of_a_known_error_counts_only_the_mask():
    truth = np.zeros((10, 10, 10))
    estimate = np.full_like(truth, 5.0)
    mask = np.zeros(truth.shape, bool)
    mask[:5] = True
    estimate[5:] = 1e6
    assert peak_signal_to_noise(truth, estimate, mask, 500.0) == pytest.approx(40.0)


def test_ssim_is_one_for_the_truth_and_falls_with_noise_and_blur(phantom):
    truth = 100 * phantom[0]
    mask = truth > 10
    rng = np.random.default_rng(0)
    assert structural_similarity(truth, truth, mask, 100.0) == pytest.approx(1.0)
    scores = [structural_similarity(truth, truth + rng.normal(0, s, truth.shape), mask, 100.0) for s in (0.5, 2.0, 8.0)]
    assert scores[0] > scores[1] > scores[2]


@pytest.fixture
def head(phantom):
    truth = 100 * phantom[0]
    return truth, truth > 10


def test_the_truth_is_perfect_and_scaling_it_is_a_known_error(head):
    truth, mask = head
    assert normalised_error(truth, truth, mask) == 0 == mean_absolute_error(truth, truth, mask, 100.0)
    assert normalised_error(truth, 1.1 * truth, mask) == pytest.approx(0.1)
    assert high_frequency_error(truth, 1.1 * truth, mask) == pytest.approx(0.1, rel=1e-4)
    assert gradient_similarity(truth, truth, mask, 100.0) == pytest.approx(1)
    assert edge_sharpness(truth, 0.8 * truth, mask) == pytest.approx(0.8, rel=1e-4)
    offset = np.where(mask, truth + 3, -1e6)
    assert mean_absolute_error(truth, offset, mask, 100.0) == pytest.approx(0.03, rel=1e-4)


def test_blur_and_noise_show_where_they_should(head):
    truth, mask = head
    blurred = ndimage.gaussian_filter1d(truth, 1.5, axis=-1)
    noisy = truth + np.random.default_rng(0).normal(0, 3, truth.shape)
    assert edge_sharpness(truth, blurred, mask) < 0.8 < 0.9 < edge_sharpness(truth, noisy, mask)
    assert edge_sharpness(truth, blurred, mask, axis=0) > edge_sharpness(truth, blurred, mask) + 0.05
    assert gradient_similarity(truth, blurred, mask, 100.0) < 0.97
    assert high_frequency_error(truth, blurred, mask) > 0.3
    assert high_frequency_error(truth, np.roll(truth, 1, 0), mask) > 0.3


def test_the_spectrum_of_a_known_blur():
    """White columns through a Gaussian filter: the ratio is its squared frequency response."""
    rng = np.random.default_rng(0)
    truth, sigma = rng.normal(size=(60, 60, 64)), 0.8
    estimate = ndimage.gaussian_filter1d(truth, sigma, axis=-1, mode="wrap", truncate=8)
    frequency, ratio = spectrum_ratio(truth, estimate, np.ones(truth.shape, bool), 2.0)
    expected = np.exp(-((2 * np.pi * frequency * 2.0 * sigma) ** 2))
    assert frequency[-1] == pytest.approx(0.25)
    assert np.allclose(ratio[2:20], expected[2:20], rtol=0.1)
    with pytest.raises(ValueError, match="16 voxels"):
        spectrum_ratio(truth[..., :9], estimate[..., :9], np.ones((60, 60, 9), bool), 2.0)


def test_a_unit_ramp_has_a_gradient_of_one():
    ramp = np.arange(20.0)[:, None, None] * np.ones((1, 9, 9))
    assert np.allclose(_gradient_magnitude(ramp)[3:-3, 3:-3, 3:-3], 1)
