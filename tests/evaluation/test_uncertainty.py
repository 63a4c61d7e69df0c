"""Scores of uncertainty on distributions whose scores are known, factors that hold what they promise, their file."""

import math

import numpy as np
import pytest
from scipy import stats

from focvs.evaluation import uncertainty
from focvs.priors.intervals import LEVELS


@pytest.mark.parametrize("samples", [2, 4, 8])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_student_intervals_hold_one_more_normal_draw(rng, samples, level):
    draws = 3 + rng.normal(size=(samples + 1, 100_000))
    error = draws[:-1].mean(0) - draws[-1]
    half = uncertainty.student_half_width(draws[:-1].std(0, ddof=1), samples, level)
    assert uncertainty.coverage(error, half) == pytest.approx(level, abs=0.006)


def test_factors_hold_their_share_of_the_heads_together_and_of_one_alike(rng):
    deviation = rng.uniform(0.5, 2, size=50_000)
    sharp, dull = deviation * rng.normal(size=50_000), 3 * deviation * rng.normal(size=50_000)
    factors = uncertainty.factors_of([sharp], [deviation], LEVELS)
    assert factors == pytest.approx([stats.norm.ppf((1 + level) / 2) for level in LEVELS], rel=0.03)
    both = uncertainty.factors_of([sharp, dull[:20_000]], [deviation, deviation[:20_000]], LEVELS)
    for level, factor in zip(LEVELS, both, strict=True):  # heads count alike, whatever their size
        held = [uncertainty.coverage(e, factor * deviation) for e in (sharp, dull)]
        assert np.mean(held) == pytest.approx(level, abs=0.01) and held[0] > level > held[1]
    with pytest.raises(ValueError, match="at least one head"):
        uncertainty.factors_of([], [], LEVELS)
    with pytest.raises(ValueError, match="is 0"):
        uncertainty.factors_of([sharp], [0 * deviation], LEVELS)


def test_crps_of_few_samples_is_that_of_many(rng):
    truth = rng.normal(size=200_000)
    samples = 0.5 + 2 * rng.normal(size=(3, truth.size))
    exact = uncertainty.normal_crps(0.5 - truth, np.full(truth.size, 2.0))
    assert uncertainty.sample_crps(samples, truth) == pytest.approx(exact, rel=0.01)
    assert uncertainty.normal_crps(np.zeros(3), np.ones(3)) == pytest.approx((math.sqrt(2) - 1) / math.sqrt(math.pi))
    far = np.array([50.0])  # far away it is the absolute error less half the mean distance of two draws
    assert uncertainty.normal_crps(far, np.ones(1)) == pytest.approx(50 - 1 / math.sqrt(math.pi))


@pytest.mark.parametrize("confidence", [1.0, 0.25])
def test_spread_over_skill_is_one_for_honest_samples(rng, confidence):
    samples, truth = confidence * rng.normal(size=(4, 100_000)), rng.normal(size=100_000)
    error = samples.mean(0) - truth
    ratio = uncertainty.spread_skill(samples.std(0, ddof=1), error, 4)
    expected = confidence * math.sqrt(1.25 / (1 + confidence**2 / 4))
    assert ratio == pytest.approx(expected, rel=0.01)


def test_rank_correlation_knows_order_only(rng):
    deviation = rng.uniform(size=1000)
    assert uncertainty.rank_correlation(deviation, -(deviation**3)) == pytest.approx(1)
    assert abs(uncertainty.rank_correlation(deviation, rng.normal(size=1000))) < 0.1
