"""Samplers against the analytic Gaussian prior: closed-form mean, covariance, order, and exact identities."""

from functools import partial

import numpy as np
import pytest
import torch

from focvs.sampling.consistency import Consistency, Measured
from focvs.sampling.noise_schedule import ancestral_split, karras_sigmas
from focvs.sampling.samplers import SAMPLERS, NoiseSource, ddim, ddpm, dpmpp_2m, dps, make_sampler, resample
from gaussian import NOISE, Problem


def bound(sampler, **options):
    """What :meth:`gaussian.Problem.sample` takes, of a free function."""
    if sampler is dpmpp_2m:
        return lambda measured, noise: partial(sampler, consistency=measured)
    return lambda measured, noise: partial(sampler, consistency=measured, noise=noise, **options)


def named(name, operator, **options):
    return lambda measured, noise: make_sampler(name, measured, noise, operator=operator, **options)


@pytest.fixture(scope="module", params=[(4.0, 4.0), (4.0, 5.2), (5.0, 2.5)], ids=["touching", "gap", "overlap"])
def problem(request):
    return Problem(*request.param)


@pytest.mark.parametrize(("sampler", "steps"), [(dpmpp_2m, 20), (resample, 10)])
def test_posterior_mean_and_variance(problem, sampler, steps):
    start = 10.0 if sampler is dpmpp_2m else 0.8
    samples = problem.sample(bound(sampler), "calibrated", steps, start, 0.01, count=300)
    error = (samples.mean(0) - problem.truth).square().mean()
    best = (problem.mean - problem.truth).square().mean()
    assert 10 * abs(float(torch.log10(error / best))) < 0.1
    ratio = samples.var(0).mean() / problem.covariance.diagonal().mean()
    assert 0.9 < float(ratio) < 1.1
    # not only in total: along the axis, and between neighbours
    deviations = samples - samples.mean(0)
    measured = torch.einsum("bcn,bcm->nm", deviations, deviations) / ((len(samples) - 1) * samples.shape[1])
    assert float((measured - problem.covariance).norm() / problem.covariance.norm()) < 0.15


def test_at_temperature_zero_the_mean_stays_and_samples_vary_less(problem):
    samples = problem.sample(bound(resample, temperature=0.0), "calibrated", 10, 0.8, 0.01, count=300)
    error = (samples.mean(0) - problem.truth).square().mean()
    best = (problem.mean - problem.truth).square().mean()
    assert 10 * abs(float(torch.log10(error / best))) < 0.1
    assert samples.var(0).mean() < 0.5 * problem.covariance.diagonal().mean()


def test_hard_replacement_is_over_confident_where_calibrated_is_not():
    problem = Problem()
    hard = problem.sample(bound(dpmpp_2m), "ddnm", 20, 10.0, 0.01, count=100)
    soft = problem.sample(bound(dpmpp_2m), "calibrated", 20, 10.0, 0.01, count=100)
    errors = [(s.mean(0) - problem.truth).square().mean() for s in (hard, soft)]
    assert errors[1] < errors[0]
    assert torch.allclose(problem.operator(hard), problem.scan.expand(100, -1, -1), atol=1e-9)
    a = problem.operator.matrix
    known = float((a @ problem.covariance @ a.T).diagonal().mean())  # what the scan leaves open of its own slices
    assert float(problem.operator(soft).var(0).mean()) == pytest.approx(known, rel=0.2)


def test_ddnm_with_ddpm_is_the_published_update():
    """One step of DDNM (Wang et al. 2023, algorithm 1) in VP variables, mapped to sigma."""
    problem = Problem(columns=5)
    sigmas = torch.tensor([0.7, 0.4, 0.4 - 1e-9], dtype=torch.float64)
    x = torch.randn(1, *problem.truth.shape, dtype=torch.float64)
    a_t, a_s = (1 / (1 + sigmas[0] ** 2), 1 / (1 + sigmas[1] ** 2))
    clean = problem.consistency("ddnm", sigmas).replace(problem.prior(x, 0.7), problem.scan, 0)
    beta = 1 - a_t / a_s
    mean = a_s.sqrt() * beta / (1 - a_t) * clean + (a_t / a_s).sqrt() * (1 - a_s) / (1 - a_t) * (x * a_t.sqrt())
    expected = (mean + (beta * (1 - a_s) / (1 - a_t)).sqrt() * NoiseSource(3).like(x)) / a_s.sqrt()
    seen = []

    def spy(v, sigma):
        seen.append(v)
        return problem.prior(v, sigma)

    ddpm(spy, x, sigmas, consistency=problem.measured("ddnm", sigmas), noise=NoiseSource(3))
    assert torch.allclose(seen[1], expected, atol=1e-9)


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"dps"}))
def test_none_is_the_unconditional_sampler(name):
    """With consistency=none the scan has no influence, and the samples have the prior's own covariance."""
    problem = Problem(columns=30)
    start = 30.0
    steps = {"dpmpp_2m": 40, "resample": 60, "ddim": 200, "ddpm": 200}[name]
    sigmas = karras_sigmas(steps, start, 0.005)
    x = start * NoiseSource(0, range(60)).like(torch.empty(60, *problem.truth.shape, dtype=torch.float64))
    runs = [
        named(name, problem.operator)(problem.measured("none", sigmas, y), NoiseSource(1, range(60)))(
            problem.prior, x, sigmas
        )
        for y in (problem.scan, torch.zeros_like(problem.scan))
    ]
    assert torch.equal(*runs)
    coefficients = (runs[0] - problem.prior.mean) @ problem.prior.transform.T
    ratio = coefficients.var((0, 1)) / problem.prior.spectrum
    assert float(ratio[:6].mean()) == pytest.approx(1, abs=0.12)
    assert float((ratio * problem.prior.spectrum).sum() / problem.prior.spectrum.sum()) == pytest.approx(1, abs=0.1)


def test_orders():
    """Error of the deterministic samplers against the exact solution of the probability flow, on the step."""
    problem = Problem(columns=4)
    start, end = 2.0, 0.2
    x = problem.truth[None] + start * torch.randn(1, *problem.truth.shape, dtype=torch.float64)
    s = problem.prior.spectrum
    exact_factor = ((s + end**2) / (s + start**2)).sqrt()
    state = ((x - problem.prior.mean) @ problem.prior.transform.T * exact_factor) @ problem.prior.transform
    exact = problem.prior(state + problem.prior.mean, end)
    measured = Measured(Consistency("none", problem.operator), problem.scan[None])

    def error(sampler, steps):
        ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
        sigmas = start * (end / start) ** ramp
        out = bound(sampler)(measured, NoiseSource(0))(problem.prior, x, sigmas)
        return float((out - exact).norm())

    steps = np.array([17, 33, 65, 129])
    for sampler, order in ((ddim, 1), (dpmpp_2m, 2)):
        errors = [error(sampler, int(k)) for k in steps]
        slope = -np.polyfit(np.log(steps - 1), np.log(errors), 1)[0]
        assert slope == pytest.approx(order, abs=0.2)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_a_sample_is_the_same_in_any_batch(name):
    problem = Problem(columns=6)
    sigmas = karras_sigmas(4, 0.8, 0.05)

    def run(numbers):
        noise = NoiseSource(5, numbers)
        sampler = named(name, problem.operator)(problem.measured("calibrated", sigmas), noise)
        return sampler(problem.prior, problem.start(0.8, noise), sigmas)

    together, alone = run([1, 2, 3]), run([2])
    assert torch.allclose(together[1], alone[0], atol=1e-12)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


def test_samples_of_neighbouring_seeds_are_different_streams():
    """Of a grid of seeds and samples no two streams are the same, and none correlate."""
    pairs = [(seed, m) for seed in range(4) for m in range(1, 5)]
    draws = torch.cat([NoiseSource(seed, [m]).like(torch.empty(1, 4000)) for seed, m in pairs])
    correlation = torch.corrcoef(draws) - torch.eye(len(pairs))
    assert correlation.abs().max() < 5 / 4000**0.5
    assert torch.equal(draws[0], NoiseSource(0, [1]).like(torch.empty(1, 4000))[0])


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_progress_counts_every_level(name):
    problem, seen = Problem(columns=2), []
    sigmas, noise = karras_sigmas(5, 0.8, 0.05), NoiseSource(0)
    sampler = named(name, problem.operator, callback=seen.append)(problem.measured("calibrated", sigmas), noise)
    sampler(problem.prior, problem.start(0.8, noise), sigmas)
    assert seen == [1, 2, 3, 4, 5]


def test_bad_requests_are_refused():
    problem = Problem(columns=2)
    measured = Measured(Consistency("none", problem.operator), problem.scan[None])
    with pytest.raises(ValueError, match="2 generators"):
        NoiseSource(0, [1, 2]).like(torch.empty(3, 4))
    for name in SAMPLERS:
        with pytest.raises(ValueError, match="at least one level"):
            named(name, problem.operator)(measured, NoiseSource(0))(problem.prior, problem.truth[None], torch.empty(0))
    with pytest.raises(ValueError, match="choose one of dpmpp_2m, resample"):
        make_sampler("heun", measured, NoiseSource(0), operator=problem.operator)


def test_dps_follows_the_gradient_through_the_prior(problem):
    """Of a Gaussian prior the Jacobian is known: Phi^T S / (S + sigma^2) Phi, so the step is too."""
    sigmas, strength = torch.tensor([0.5, 0.2], dtype=torch.float64), 0.7
    x = problem.mean[None] + 0.5 * NoiseSource(1).like(problem.mean[None])
    seen = []

    def spy(v, sigma):
        seen.append(v.detach().clone())
        return problem.prior(v, sigma)

    known = {"operator": problem.operator, "scan": problem.scan[None], "noise": NoiseSource(2)}
    out = dps(spy, x, sigmas, **known, strength=strength)
    denoised = problem.prior(x, 0.5)
    shrink = problem.prior.spectrum / (problem.prior.spectrum + 0.5**2)
    back = (problem.operator(denoised) - problem.scan) @ problem.operator.matrix  # A^T (A D - y)
    gradient = (back @ problem.prior.transform.T * shrink) @ problem.prior.transform
    kept, fresh = ancestral_split(0.5, 0.2, 1.0)
    largest = torch.linalg.matrix_norm(problem.operator.matrix, 2)
    expected = denoised + kept * (x - denoised) + fresh * NoiseSource(2).like(x) - strength / largest**2 * gradient
    assert torch.allclose(seen[1], expected, atol=1e-12)
    assert torch.allclose(out, problem.prior(expected, 0.2), atol=1e-12) and not out.requires_grad


def test_dps_comes_near_the_scan(problem):
    def misfit(strength):
        samples = problem.sample(named("dps", problem.operator, guidance=strength), "none", 60, 2.0, 0.01, count=8)
        return float((problem.operator(samples) - problem.scan).square().mean().sqrt())

    assert misfit(1.0) < 0.3 * misfit(1e-6)
    assert misfit(1.0) < 20 * NOISE
