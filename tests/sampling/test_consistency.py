"""Replacement rules: their formulas, head and air, precision, and what they refuse."""

import pytest
import torch

from focvs.sampling.consistency import Consistency, Support
from focvs.sampling.noise_schedule import karras_sigmas
from gaussian import NOISE, Problem


@pytest.mark.parametrize(("thickness", "spacing"), [(4.0, 4.0), (4.0, 5.2), (5.0, 2.5)])
def test_ddnm_is_its_formula(thickness, spacing):
    problem = Problem(thickness, spacing)
    sigmas = karras_sigmas(3, 0.5, 0.1)
    d = torch.randn(7, problem.truth.shape[1], dtype=torch.float64)
    y = problem.scan[:7]
    a, p = problem.operator.matrix, problem.operator.pseudo_inverse_matrix
    expected = y @ p.T + d - d @ a.T @ p.T  # A^+ y + (I - A^+ A) x_{0|t}
    assert torch.allclose(problem.consistency("ddnm", sigmas).replace(d, y, 1), expected, atol=1e-9)


def test_support_splits_head_and_air():
    """Grouped columns get the gain of their own covariance W C W; air draws are quiet."""
    problem = Problem(columns=12)
    sigmas = karras_sigmas(3, 0.8, 0.05)
    n = problem.truth.shape[1]
    mask = torch.zeros(12, n, dtype=torch.bool)
    mask[:4] = True
    mask[4:8, 10:30] = True
    support = Support.from_mask(mask, air=0.1)
    assert torch.equal(support.map(), torch.where(mask, 1.0, 0.1).double())
    rule = problem.consistency("calibrated", sigmas, support=support)
    d = torch.randn(2, 12, n, dtype=torch.float64)
    out = rule.replace(d, problem.scan, 1)
    for column in (0, 5, 11):
        w = torch.where(mask[column], 1.0, 0.1).double()
        gain = problem.operator.kalman_gain(w[:, None] * rule.covariance(1) * w, NOISE)
        expected = d[:, column] + (problem.scan[column] - problem.operator(d[:, column])) @ gain.T
        assert torch.allclose(out[:, column], expected, atol=1e-9)
    noise = torch.randn(400, 12, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    quiet = rule.perturb(torch.zeros_like(noise), 0, noise)
    assert float(quiet[:, 8:].std() / quiet[:, :4].std()) == pytest.approx(0.1, rel=0.1)


def test_replacement_stays_in_float32_under_autocast():
    problem = Problem(columns=3)
    sigmas = karras_sigmas(3, 0.8, 0.05)
    d, y = problem.truth[None].bfloat16(), problem.scan.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = problem.consistency("ddnm", sigmas).replace(d, y, 0)
    assert out.dtype == torch.float32
    assert torch.allclose(problem.operator(out), y.expand_as(problem.operator(out)), atol=1e-5)


def test_a_rule_with_its_scan_does_as_the_rule():
    problem = Problem(columns=3)
    sigmas = karras_sigmas(3, 0.8, 0.05)
    rule, measured = problem.consistency("calibrated", sigmas), problem.measured("calibrated", sigmas)
    d, noise = torch.randn(2, *problem.truth.shape, dtype=torch.float64), torch.randn(2, 3, problem.truth.shape[1])
    scan_noise = torch.randn(2, *problem.scan.shape)
    assert torch.equal(measured.replace(d, 1), rule.replace(d, problem.scan, 1))
    drawn = measured.draw(d, 1, noise.double(), scan_noise.double())
    assert torch.equal(drawn, rule.draw(d, problem.scan, 1, noise.double(), scan_noise.double()))
    assert measured.renoise is None


def test_bad_requests_are_refused():
    operator = Problem(columns=1).operator
    with pytest.raises(ValueError, match="calibrated, ddnm, diffpir, none"):
        Consistency("dps", operator)
    with pytest.raises(ValueError, match="spectra"):
        Consistency("calibrated", operator)
    with pytest.raises(ValueError, match="spectra"):
        Consistency("ddnm", operator).covariance(0)
