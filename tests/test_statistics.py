import math

import pytest
import torch

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.sampling.statistics import SampleStore, normal_quantile, predictive_deviation


def test_summary_is_that_of_all_samples_at_once():
    operator = ThroughPlaneOperator(gaussian_profile(4.0), make_grid(6, 4.0, 1.0), "edge")
    samples = torch.randn(7, 3, 4, operator.matrix.shape[1], generator=torch.Generator().manual_seed(0))
    store = SampleStore(7, tuple(samples.shape[1:]))
    for sample in samples:
        store.add(sample)
    summary = store.summarise(operator)
    assert torch.allclose(summary.mean, samples.mean(0), atol=1e-6)
    assert torch.allclose(summary.std, samples.std(0), atol=1e-6)
    null = samples.double() - samples.double() @ (operator.pseudo_inverse_matrix @ operator.matrix).T
    assert torch.allclose(summary.null_std, null.std(0).float(), atol=1e-6)


def test_what_the_scan_fixes_has_no_null_space_spread():
    """Samples that reproduce one scan exactly differ in the null space only, so both spreads agree."""
    operator = ThroughPlaneOperator(gaussian_profile(4.0), make_grid(6, 4.0, 1.0), "edge")
    free = torch.randn(9, 2, 2, operator.matrix.shape[1], dtype=torch.float64)
    scan = torch.randn(2, 2, 6, dtype=torch.float64)
    store = SampleStore(9, tuple(free.shape[1:]))
    for sample in operator.replace(free, scan):
        store.add(sample)
    summary = store.summarise(operator)
    assert torch.allclose(summary.std, summary.null_std, atol=1e-5)
    ranged = SampleStore(9, tuple(free.shape[1:]))
    for sample in operator.pseudo_inverse(operator(free)):
        ranged.add(sample)
    assert ranged.summarise(operator).null_std.max() < 1e-5


def test_one_sample_has_no_spread_and_none_cannot_be_summarised():
    store = SampleStore(1, (2, 2, 5))
    with pytest.raises(ValueError, match="no samples"):
        store.summarise()
    store.add(torch.ones(2, 2, 5))
    summary = store.summarise()
    assert summary.std.max() == 0
    assert predictive_deviation(summary.std, 1).max() == 0


@pytest.mark.parametrize("samples", [2, 4, 8])
def test_intervals_of_few_draws_hold_one_more_as_often_as_they_say(samples):
    """Normal draws of a deviation that varies slowly: the mean and 1.645 predictive deviations hold 90 % of others."""
    generator = torch.Generator().manual_seed(samples)
    true = 1 + 0.5 * torch.sin(torch.arange(40) / 8)[:, None, None] * torch.cos(torch.arange(36) / 9)[:, None]
    draws = true * torch.randn(samples + 1, 40, 36, 32, generator=generator)
    *some, other = draws
    store = SampleStore(samples, (40, 36, 32))
    for draw in some:
        store.add(draw)
    summary = store.summarise()
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
