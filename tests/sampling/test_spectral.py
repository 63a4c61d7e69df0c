"""DDNM+, DDRM and DiffPIR: the published formulas, the variance they promise, and noise they do not amplify."""

import pytest
import torch

from focvs.sampling.consistency import Consistency, Measured
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.sampling.samplers import NoiseSource, ddpm
from focvs.sampling.spectral import DDRM, DDNMPlus
from gaussian import NOISE, Problem

RULES = [DDNMPlus, DDRM]


@pytest.fixture(scope="module", params=[(4.0, 5.2), (5.0, 2.5)], ids=["gap", "overlap"])
def problem(request):
    return Problem(*request.param)


@pytest.mark.parametrize("rule", RULES)
def test_without_noise_the_scan_is_reproduced_at_every_level(problem, rule):
    sigmas = karras_sigmas(4, 0.8, 0.05).tolist()
    d = torch.randn(7, problem.truth.shape[1], dtype=torch.float64)
    ddnm = Consistency("ddnm", problem.operator)
    for level in range(4):
        replaced = rule(problem.operator, sigmas, 0.0).replace(d, problem.scan[:7], level)
        assert torch.allclose(replaced, ddnm.replace(d, problem.scan[:7], level), atol=1e-9)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("noise_sigma", [0.0, 0.02, 0.3])
def test_a_step_of_a_perfect_prior_lands_on_the_next_noise_level(problem, rule, noise_sigma):
    """With D = x, x' - x is white of exactly the next level, whatever the scan's noise (Kawar et al., theorem 3.2)."""
    sigmas = [0.5, 0.2, 0.06]
    truth = problem.truth[0]
    generator = torch.Generator().manual_seed(1)

    def white(*shape):
        return torch.randn(6000, *shape, generator=generator, dtype=torch.float64)

    scan = problem.operator(truth) + noise_sigma * white(problem.scan.shape[1])
    made = rule(problem.operator, sigmas, noise_sigma)
    denoised = truth.expand(6000, -1)
    for level in (0, 1):
        x = truth + sigmas[level] * white(len(truth))
        clean = made.replace(denoised, scan, level)
        error = made.renoise(x, denoised, clean, level, white(len(truth))) - truth
        covariance = error.T @ error / len(error)
        expected = sigmas[level + 1] ** 2 * torch.eye(len(truth), dtype=torch.float64)
        assert error.square().mean() == pytest.approx(sigmas[level + 1] ** 2, rel=0.02)
        assert (covariance - expected).norm() < 1.15 * sigmas[level + 1] ** 2 * (len(truth) ** 2 / len(error)) ** 0.5


def test_ddnm_plus_lets_in_what_the_paper_says(problem):
    """lambda = min(1, sigma_t s / (a_t sigma_y)) with a_t and sigma_t of the VP posterior (equations 3 and 19)."""
    sigmas, noise_sigma = [0.5, 0.2], 0.4
    now, following = (1 / (1 + s**2) for s in sigmas)  # alpha bar
    beta = 1 - now / following
    a, spread = following**0.5 * beta / (1 - now), (beta * (1 - following) / (1 - now)) ** 0.5
    expected = (spread * problem.operator.svd[1] / (a * noise_sigma)).clamp(max=1)
    assert (expected < 1).sum() > 0
    assert torch.allclose(DDNMPlus(problem.operator, sigmas, noise_sigma).weights(0), expected)


def test_ddrm_takes_the_scan_where_it_is_less_noisy_than_the_next_level(problem):
    rule = DDRM(problem.operator, [0.5, 0.2], 0.15, eta=0.6)
    values = problem.operator.svd[1]
    expected = torch.where(0.15 / values <= 0.2, 1.0, 0.8 * 0.2 * values / 0.15)
    assert torch.allclose(rule.weights(0), expected)
    assert (rule.weights(1) == 0).all()  # the last level leaves no room for noise


def test_diffpir_solves_its_proximal_problem(problem):
    """(A^T A + rho) d' = A^T y + rho d with rho = lambda sigma_y^2 / sigma_t^2 (equation 13)."""
    sigmas, strength = [0.5, 0.2, 0.1], 7.0
    rule = Consistency("diffpir", problem.operator, noise_sigma=NOISE, sigmas=sigmas, strength=strength)
    d, y, a = torch.randn(7, problem.truth.shape[1], dtype=torch.float64), problem.scan[:7], problem.operator.matrix
    for level, sigma in enumerate(sigmas):
        found, rho = rule.replace(d, y, level), strength * NOISE**2 / sigma**2
        assert torch.allclose(found @ (a.T @ a) + rho * found, y @ a + rho * d, atol=1e-9)
    exact = Consistency("diffpir", problem.operator, sigmas=sigmas)
    assert torch.allclose(problem.operator(exact.replace(d, y, 0)), y, atol=1e-9)
    with pytest.raises(ValueError, match="noise levels"):
        Consistency("diffpir", problem.operator)


@pytest.mark.parametrize(("name", "bound"), [("ddnm_plus", 3), ("ddrm", 2), ("diffpir", 2)])
def test_noise_aware_rules_beat_hard_replacement_of_overlapping_slices(name, bound):
    """``bound``: times the error of the exact posterior mean; no rule but the calibrated one reaches it."""
    problem = Problem(5.0, 2.5)
    sigmas = karras_sigmas(60, 3.0, 0.005)
    noise_sigma, levels = NOISE, sigmas.tolist()
    rules = {
        "ddnm": Consistency("ddnm", problem.operator),
        "ddnm_plus": DDNMPlus(problem.operator, levels, noise_sigma),
        "ddrm": DDRM(problem.operator, levels, noise_sigma),
        "diffpir": Consistency("diffpir", problem.operator, noise_sigma=noise_sigma, sigmas=levels),
    }

    def error(rule):
        noise = NoiseSource(0, range(40))
        x = problem.mean + levels[0] * noise.like(problem.mean.expand(40, *problem.mean.shape))
        measured = Measured(rules[rule], problem.scan[None])
        samples = ddpm(problem.prior, x, sigmas, consistency=measured, noise=noise)
        return float((samples.mean(0) - problem.truth).square().mean())

    best = float((problem.mean - problem.truth).square().mean())
    assert error(name) < 0.7 * error("ddnm")
    assert error(name) < bound * best


@pytest.mark.parametrize("rule", RULES)
def test_what_these_rules_cannot_do_is_said(problem, rule):
    made = rule(problem.operator, [0.5, 0.2], NOISE)
    with pytest.raises(ValueError, match="sampler=ddpm"):
        made.draw(problem.truth, problem.scan, 0, problem.truth, problem.scan)
