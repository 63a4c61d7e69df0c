import numpy as np
import pytest

from focvs.evaluation.metrics import peak_signal_to_noise, structural_similarity


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
