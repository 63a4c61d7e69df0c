import math

import pytest
import torch
from scipy import stats

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.evaluation import uncertainty
from focvs.priors.intervals import LEVELS
from focvs.sampling.statistics import half_width, normal_quantile, predictive_deviation, replaced_noise, summarise


def test_summary_is_that_of_all_samples_at_once():
    operator = ThroughPlaneOperator(gaussian_profile(4.0), make_grid(6, 4.0, 1.0), "edge")
    samples = torch.randn(7, 3, 4, operator.matrix.shape[1], generator=torch.Generator().manual_seed(0))
    summary = summarise(samples, operator)
    assert torch.allclose(summary.mean, samples.mean(0), atol=1e-6)
    assert torch.allclose(summary.std, samples.std(0), atol=1e-6)
    null = samples.double() - samples.double() @ (operator.pseudo_inverse_matrix @ operator.matrix).T
    assert torch.allclose(summary.null_std, torch.minimum(null.std(0).float(), samples.std(0)), atol=1e-6)


def test_what_the_scan_fixes_has_no_null_space_spread():
    """Samples that reproduce one scan exactly differ in the null space only, so both spreads agree."""
    operator = ThroughPlaneOperator(gaussian_profile(4.0), make_grid(6, 4.0, 1.0), "edge")
    free = torch.randn(9, 2, 2, operator.matrix.shape[1], dtype=torch.float64)
    scan = torch.randn(2, 2, 6, dtype=torch.float64)
    summary = summarise(operator.replace(free, scan).float(), operator)
    assert torch.allclose(summary.std, summary.null_std, atol=1e-5)
    assert (summary.null_std <= summary.std).all()
    ranged = operator.pseudo_inverse(operator(free)).float()
    assert summarise(ranged, operator).null_std.max() < 1e-5


def test_the_null_space_never_varies_more_than_the_whole():
    """Where the parts that the scan sees and does not see go against each other, they cancel in the whole."""
    operator = ThroughPlaneOperator(gaussian_profile(4.0), make_grid(6, 4.0, 1.0), "edge")
    free = torch.randn(5, 2, 2, operator.matrix.shape[1], dtype=torch.float64)
    against = operator.null_space(free) - 0.5 * operator.pseudo_inverse(operator(free).flip(-1)) * 3
    summary = summarise(against.float(), operator)
    assert (summary.null_std <= summary.std).all() and (summary.null_std < summary.std).any()


def test_one_sample_has_no_spread_and_none_cannot_be_summarised():
    with pytest.raises(ValueError, match="no samples"):
        summarise([])
    summary = summarise([torch.ones(2, 2, 5)])
    assert summary.std.max() == 0
    assert predictive_deviation(summary.std, 1).max() == 0


@pytest.mark.parametrize("samples", [2, 4, 8])
def test_intervals_of_few_draws_hold_one_more_as_often_as_they_say(samples):
    """Normal draws of a deviation that varies slowly: the mean and 1.645 predictive deviations hold 90 % of others."""
    generator = torch.Generator().manual_seed(samples)
    true = 1 + 0.5 * torch.sin(torch.arange(40) / 8)[:, None, None] * torch.cos(torch.arange(36) / 9)[:, None]
    draws = true * torch.randn(samples + 1, 40, 36, 32, generator=generator)
    *some, other = draws
    summary = summarise(some)
    deviation = predictive_deviation(summary.std, samples)
    for level in (0.5, 0.9):
        inside = (other - summary.mean).abs() <= normal_quantile(level) * deviation
        assert inside.float().mean() == pytest.approx(level, abs=0.01)


def test_neighbours_share_variance_and_lose_none():
    std = torch.zeros(21, 20, 19)
    std[10, 10, 9] = 3.0
    pooled = predictive_deviation(std, 4).square()
    assert pooled.sum() == pytest.approx(9 * 1.25, rel=1e-5)
    for samples, width in ((2, 1.0), (8, 0.5**0.5)):
        pooled = predictive_deviation(std, samples).square()
        share = pooled[10, 10, 11] / pooled[10, 10, 9]
        assert share == pytest.approx(math.exp(-0.5 * (2 / width) ** 2), rel=1e-4)
    assert torch.allclose(predictive_deviation(torch.full((5, 4, 3), 2.0), 1), torch.tensor(2 * math.sqrt(2)))


@pytest.mark.parametrize(("level", "quantile"), [(0.9, 1.6449), (0.5, 0.6745), (0.95, 1.96)])
def test_normal_quantiles(level, quantile):
    assert normal_quantile(level) == pytest.approx(quantile, abs=1e-4)


def test_an_interval_holds_errors_of_the_prior_and_of_the_noise(rng):
    deviation, noise = rng.uniform(0.5, 2, size=(2, 100_000))
    error = 3 * deviation * rng.normal(size=100_000) + noise * rng.normal(size=100_000)
    for level in LEVELS:
        factor = 3 * stats.norm.ppf((1 + level) / 2)
        half = half_width(torch.from_numpy(deviation), factor, torch.from_numpy(noise), level).numpy()
        assert uncertainty.coverage(error, half) == pytest.approx(level, abs=0.005)


@pytest.mark.parametrize("spacing", [4.0, 5.2])
def test_what_a_replacement_takes_over_of_the_noise(spacing):
    """Of the error (I - A^+ A)(d - x) + A^+ e the second part, whatever the prior says."""
    profile = gaussian_profile(4.0)
    operator = ThroughPlaneOperator(profile, make_grid(10, spacing, 1.3, profile.half_support_mm), "edge")
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(operator.matrix.shape[1], generator=generator, dtype=torch.float64)
    noise = 0.3 * torch.randn(20_000, 10, generator=generator, dtype=torch.float64)
    restored = operator.replace(truth.expand(len(noise), -1), operator(truth) + noise)
    expected = replaced_noise(operator, 0.3)
    assert expected.shape == truth.shape and float(expected.min()) > 0
    assert torch.allclose((restored - truth).std(0), expected, rtol=0.03)


def test_copies_of_sampled_voxels_are_pooled_as_far_as_those():
    """A deviation on voxels twice as fine pools as on the sampled ones, and is less pooled without being told."""
    std = torch.rand(24, 20, 22, generator=torch.Generator().manual_seed(5)) + 0.1
    fine = std.repeat_interleave(3, dim=0)
    coarse = predictive_deviation(std, 2)
    told = predictive_deviation(fine, 2, scale=(3, 1, 1))[1::3]  # centres of the sampled voxels
    untold = predictive_deviation(fine, 2)[1::3]
    inner = slice(5, -5)
    assert float((told - coarse)[inner].abs().max()) < 0.06 * float(coarse.mean())
    assert float(untold[inner].std()) > 1.2 * float(coarse[inner].std())
