"""The local linear model: what it recovers, and that slices hardly see what it adds."""

import pytest
import torch

from focvs.acquisition.guided_filter import guided_detail
from focvs.acquisition.interpolation import interpolation_matrix
from problems import problem_of


@pytest.fixture
def scanned(baseline_volume):
    """A volume in prior units with what is seen of it, and the operator."""
    problem = problem_of(baseline_volume)
    weights = interpolation_matrix(problem.operator)
    return baseline_volume, lambda volume: problem.operator(volume) @ weights.T, problem.operator


@pytest.fixture
def baseline_volume():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(24, 24, 40, dtype=torch.float64, generator=generator).cumsum(-1) / 6


@pytest.mark.parametrize("slope", [-0.7, 0.4, 2.0])
def test_a_scan_that_is_a_linear_function_of_its_guide_is_recovered(scanned, slope):
    guide, see, _ = scanned
    truth = slope * guide + 0.3
    start = see(truth)
    found = start + guided_detail(start, guide, see(guide))
    assert float((found - truth).std()) < 0.1 * float((start - truth).std())


def test_a_guide_that_says_nothing_adds_next_to_nothing(scanned):
    volume, see, _ = scanned
    flat = torch.full_like(volume, 0.5)
    start = see(volume)
    assert float(guided_detail(start, flat, see(flat)).abs().max()) < 1e-9
    other = torch.randn(volume.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).cumsum(-1) / 6
    unlike = guided_detail(start, other, see(other))
    assert float(unlike.std()) < 0.5 * float(guided_detail(start, volume, see(volume)).std())


def test_slices_hardly_see_what_is_added(scanned):
    guide, see, operator = scanned
    detail = guided_detail(see(guide), guide, see(guide))
    assert float(operator(detail).std()) < 0.05 * float(detail.std())
