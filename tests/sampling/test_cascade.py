"""The mean without sampling, on a Gaussian prior whose posterior is known."""

import pytest
import torch

from focvs.sampling.cascade import cascade
from gaussian import Problem

SIGMAS = torch.full((2,), 50.0, dtype=torch.float64)


def test_a_prior_without_a_scan_becomes_the_posterior_mean_by_its_replacement():
    """At a high noise level D is the mean of the prior, and the calibrated rule is the Kalman update."""
    problem = Problem()
    start = torch.zeros_like(problem.truth)[None]
    found = cascade([problem.prior], start, 1e4, consistency=problem.measured("calibrated", SIGMAS * 200))
    assert torch.allclose(found[0], problem.mean, atol=1e-4)


def test_a_prior_that_is_told_of_the_scan_is_the_mean_already():
    problem, done = Problem(), []

    def told(x, sigma):
        return problem.mean[None]

    measured = problem.measured("calibrated", SIGMAS)
    found = cascade([told, told], problem.truth[None], 3.0, consistency=measured, callback=done.append)
    assert done == [1, 2] and found.shape == (1, *problem.truth.shape)
    assert torch.allclose(found, measured.replace(problem.mean[None], 1))
    assert float((found - problem.mean).abs().max()) < 0.05  # hardly anything was left to replace


def test_a_later_stage_gets_the_mean_with_the_scan_replaced():
    problem, seen = Problem(), []

    def stage(x, sigma):
        seen.append(x)
        return x + 0.1

    start = torch.zeros_like(problem.truth)[None]
    found = cascade([stage, stage], start, 3.0, consistency=problem.measured("ddnm", SIGMAS))
    assert torch.equal(seen[0], start)
    for volume in (seen[1], found):
        assert torch.allclose(problem.operator(volume[0]), problem.scan, atol=1e-8)


def test_no_stages_are_refused():
    problem = Problem()
    with pytest.raises(ValueError, match="at least one"):
        cascade([], problem.truth[None], 3.0, consistency=problem.measured("ddnm", SIGMAS))
