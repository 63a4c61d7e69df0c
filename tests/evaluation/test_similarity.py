import numpy as np
import pytest

from focvs.evaluation.similarity import BINS, mutual_information


def test_an_image_tells_all_of_itself_whatever_its_contrast():
    levels = np.repeat(np.arange(BINS), 50) + 0.5
    assert mutual_information(levels, levels) == pytest.approx(np.log(BINS), abs=0.1)
    assert mutual_information(levels, -(levels**2)) == pytest.approx(np.log(BINS), abs=0.7)


def test_independent_intensities_tell_nothing_and_noise_tells_less():
    rng = np.random.default_rng(0)
    first = rng.normal(size=200_000)
    noisy, noisier = (first + amount * rng.normal(size=first.size) for amount in (0.5, 1.0))
    # of Gaussians -log(1 - rho^2) / 2; bins lose a little, and few counts add a little
    for second, correlation in ((rng.normal(size=first.size), 0.0), (noisy, 0.894), (noisier, 0.7071)):
        assert mutual_information(first, second) == pytest.approx(-np.log(1 - correlation**2) / 2, abs=0.06)


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(ValueError, match="cannot be compared"):
        mutual_information(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="cannot be compared"):
        mutual_information(np.zeros(0), np.zeros(0))
