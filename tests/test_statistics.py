import pytest
import torch

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.sampling.statistics import SampleStore


def test_summary_is_that_of_all_samples_at_once():
    operator = ThroughPlaneOperator(gaussian_profile(4.0), make_grid(6, 4.0, 1.0), "edge")
    samples = torch.randn(7, 3, 4, operator.matrix.shape[1], generator=torch.Generator().manual_seed(0))
    store = SampleStore(7, tuple(samples.shape[1:]))
    for sample in samples:
        store.add(sample)
    summary = store.summarise(operator)
    assert torch.allclose(summary.mean, samples.mean(0), atol=1e-6)
    assert torch.allclose(summary.std, samples.std(0), atol=1e-6)
    assert torch.allclose(summary.low, samples.quantile(0.05, dim=0), atol=1e-6)
    assert torch.allclose(summary.high, samples.quantile(0.95, dim=0), atol=1e-6)
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
    assert torch.equal(summary.low, summary.high)
