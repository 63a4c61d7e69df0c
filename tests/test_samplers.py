"""Samplers against the analytic Gaussian prior: closed-form mean, covariance, order, and exact identities."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from gaussian import GaussianPrior
from test_pipeline import settings

from focvs.acquisition.dct import dct_matrix
from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.sampling.consistency import Consistency, Support
from focvs.sampling.noise_schedule import ancestral_split, karras_sigmas
from focvs.sampling.samplers import (
    SAMPLERS,
    NoiseSource,
    ddim,
    ddpm,
    dpmpp_2m,
    dps,
    resample,
)

NOISE = 0.02


class Problem:
    """A Gaussian prior, an operator, scans drawn from them, and the exact posterior."""

    def __init__(self, thickness=4.0, spacing=4.0, columns=40, slices=16):
        profile = gaussian_profile(thickness)
        grid = make_grid(slices, spacing, 1.0, profile.half_support_mm)
        self.operator = ThroughPlaneOperator(profile, grid)
        n = grid.total
        frequency = torch.arange(n, dtype=torch.float64) / n
        spectrum = 0.3 / (1 + (30 * frequency) ** 2) ** 1.2
        self.prior = GaussianPrior(torch.full((n,), -0.1, dtype=torch.float64), spectrum, dct_matrix(n))
        generator = torch.Generator().manual_seed(0)
        self.truth = self.prior.sample(columns, generator)
        noise = torch.randn(columns, slices, generator=generator, dtype=torch.float64)
        self.scan = self.operator(self.truth) + NOISE * noise
        self.mean, self.covariance = self.prior.posterior(self.operator, self.scan, NOISE)

    def consistency(self, rule, sigmas, **options):
        spectra = torch.stack([self.prior.error_spectrum(s) for s in sigmas.tolist()])
        return Consistency(rule, self.operator, spectra, NOISE, **options)

    def sampler(self, name):
        return partial(dps, operator=self.operator) if name == "dps" else SAMPLERS[name]

    def sample(self, sampler, rule, steps, start, end, count, prior=None):
        sigmas = karras_sigmas(steps, start, end)
        source = NoiseSource(range(count))
        first = self.operator.replace(self.prior.mean.expand_as(self.truth), self.scan)
        x = first + start * source.like(first.expand(count, *first.shape))
        return sampler(prior or self.prior, self.consistency(rule, sigmas), self.scan[None], x, sigmas, source)


@pytest.fixture(scope="module", params=[(4.0, 4.0), (4.0, 5.2), (5.0, 2.5)], ids=["touching", "gap", "overlap"])
def problem(request):
    return Problem(*request.param)


@pytest.mark.parametrize(("sampler", "steps"), [(dpmpp_2m, 20), (resample, 10)])
def test_posterior_mean_and_variance(problem, sampler, steps):
    start = 10.0 if sampler is dpmpp_2m else 0.8
    samples = problem.sample(sampler, "calibrated", steps, start, 0.01, count=300)
    error = (samples.mean(0) - problem.truth).square().mean()
    best = (problem.mean - problem.truth).square().mean()
    assert 10 * abs(float(torch.log10(error / best))) < 0.1
    ratio = samples.var(0).mean() / problem.covariance.diagonal().mean()
    assert 0.9 < float(ratio) < 1.1
    # not only in total: along the axis, and between neighbours
    deviations = samples - samples.mean(0)
    measured = torch.einsum("bcn,bcm->nm", deviations, deviations) / ((len(samples) - 1) * samples.shape[1])
    assert float((measured - problem.covariance).norm() / problem.covariance.norm()) < 0.15


def test_without_spread_the_mean_stays_and_samples_vary_less(problem):
    samples = problem.sample(partial(resample, spread=0.0), "calibrated", 10, 0.8, 0.01, count=300)
    error = (samples.mean(0) - problem.truth).square().mean()
    best = (problem.mean - problem.truth).square().mean()
    assert 10 * abs(float(torch.log10(error / best))) < 0.1
    assert samples.var(0).mean() < 0.5 * problem.covariance.diagonal().mean()


def test_hard_replacement_is_over_confident_where_calibrated_is_not():
    problem = Problem()
    hard = problem.sample(dpmpp_2m, "ddnm", 20, 10.0, 0.01, count=100)
    soft = problem.sample(dpmpp_2m, "calibrated", 20, 10.0, 0.01, count=100)
    errors = [(s.mean(0) - problem.truth).square().mean() for s in (hard, soft)]
    assert errors[1] < errors[0]
    assert torch.allclose(problem.operator(hard), problem.scan.expand(100, -1, -1), atol=1e-9)


def test_ddnm_is_its_formula(problem):
    sigmas = karras_sigmas(3, 0.5, 0.1)
    d = torch.randn(7, problem.truth.shape[1], dtype=torch.float64)
    y = problem.scan[:7]
    a, p = problem.operator.matrix, problem.operator.pseudo_inverse_matrix
    expected = y @ p.T + d - d @ a.T @ p.T  # A^+ y + (I - A^+ A) x_{0|t}
    assert torch.allclose(problem.consistency("ddnm", sigmas).replace(d, y, 1), expected, atol=1e-9)


def test_ddnm_with_ddpm_is_the_published_update():
    """One step of DDNM (Wang et al. 2023, algorithm 1) in VP variables, mapped to sigma."""
    problem = Problem(columns=5)
    sigmas = torch.tensor([0.7, 0.4, 0.4 - 1e-9], dtype=torch.float64)
    x = torch.randn(1, *problem.truth.shape, dtype=torch.float64)
    a_t, a_s = (1 / (1 + sigmas[0] ** 2), 1 / (1 + sigmas[1] ** 2))
    clean = problem.consistency("ddnm", sigmas).replace(problem.prior(x, 0.7), problem.scan, 0)
    beta = 1 - a_t / a_s
    mean = a_s.sqrt() * beta / (1 - a_t) * clean + (a_t / a_s).sqrt() * (1 - a_s) / (1 - a_t) * (x * a_t.sqrt())
    noise = NoiseSource([3]).like(x)
    expected = (mean + (beta * (1 - a_s) / (1 - a_t)).sqrt() * noise) / a_s.sqrt()
    seen = []

    def spy(v, sigma):
        seen.append(v)
        return problem.prior(v, sigma)

    ddpm(spy, problem.consistency("ddnm", sigmas), problem.scan[None], x, sigmas, NoiseSource([3]))
    assert torch.allclose(seen[1], expected, atol=1e-9)


@pytest.mark.parametrize("name", sorted(set(SAMPLERS) - {"dps"}))
def test_none_is_the_unconditional_sampler(name):
    """With consistency=none the scan has no influence, and the samples have the prior's own covariance."""
    problem = Problem(columns=30)
    start = 30.0
    steps = {"dpmpp_2m": 40, "resample": 60, "ddim": 200, "ddpm": 200}[name]
    sigmas = karras_sigmas(steps, start, 0.005)
    source = NoiseSource(range(60))
    x = start * source.like(torch.empty(60, *problem.truth.shape, dtype=torch.float64))
    runs = [
        SAMPLERS[name](problem.prior, problem.consistency("none", sigmas), y, x, sigmas, NoiseSource(range(60)))
        for y in (problem.scan[None], torch.zeros_like(problem.scan)[None])
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

    def error(sampler, steps):
        ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
        sigmas = start * (end / start) ** ramp
        out = sampler(
            problem.prior, Consistency("none", problem.operator), problem.scan[None], x, sigmas, NoiseSource([0])
        )
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

    def run(seeds):
        source = NoiseSource(seeds)
        x = problem.mean + 0.8 * source.like(problem.mean.expand(len(seeds), *problem.mean.shape))
        rule = problem.consistency("calibrated", sigmas)
        return problem.sampler(name)(problem.prior, rule, problem.scan[None], x, sigmas, source)

    together, alone = run([5, 6, 7]), run([6])
    assert torch.allclose(together[1], alone[0], atol=1e-12)
    assert not torch.allclose(together[0], together[1], atol=1e-3) or name == "none"


def test_progress_counts_every_level():
    problem = Problem(columns=2)
    sigmas = karras_sigmas(5, 0.8, 0.05)
    for sampler in map(problem.sampler, SAMPLERS):
        seen = []
        x = problem.mean[None].clone()
        rule = problem.consistency("calibrated", sigmas)
        sampler(problem.prior, rule, problem.scan[None], x, sigmas, NoiseSource([0]), seen.append)
        assert seen == [1, 2, 3, 4, 5]


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
        gain = problem.operator.gain(w[:, None] * rule.covariance(1) * w, NOISE)
        expected = d[:, column] + (problem.scan[column] - problem.operator(d[:, column])) @ gain.T
        assert torch.allclose(out[:, column], expected, atol=1e-9)
    noise = torch.randn(1, 12, n, dtype=torch.float64)
    quiet = rule.perturb(torch.zeros_like(noise), 0, noise)
    assert float(quiet[0, 8:].std() / quiet[0, :4].std()) == pytest.approx(0.1, rel=0.3)


def test_replacement_stays_in_float32_under_autocast():
    problem = Problem(columns=3)
    sigmas = karras_sigmas(3, 0.8, 0.05)
    d, y = problem.truth[None].bfloat16(), problem.scan.float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = problem.consistency("ddnm", sigmas).replace(d, y, 0)
    assert out.dtype == torch.float32
    assert torch.allclose(problem.operator(out), y.expand_as(problem.operator(out)), atol=1e-5)


def test_bad_requests_are_refused():
    operator = Problem(columns=1).operator
    with pytest.raises(ValueError, match="calibrated, ddnm, diffpir, none"):
        Consistency("dps", operator)
    with pytest.raises(ValueError, match="spectra"):
        Consistency("calibrated", operator)
    with pytest.raises(ValueError, match="spectra"):
        Consistency("ddnm", operator).covariance(0)
    with pytest.raises(ValueError, match="steps >= 1"):
        karras_sigmas(0)
    with pytest.raises(ValueError, match="start > end"):
        karras_sigmas(4, 0.1, 0.2)
    with pytest.raises(ValueError, match="2 generators"):
        NoiseSource([1, 2]).like(torch.empty(3, 4))
    for sampler in map(Problem(columns=2).sampler, SAMPLERS):
        with pytest.raises(ValueError, match="at least one level"):
            sampler(None, Consistency("none", operator), None, None, torch.empty(0), NoiseSource([0]))


def test_dps_follows_the_gradient_through_the_prior(problem):
    """Of a Gaussian prior the Jacobian is known: Phi^T S / (S + sigma^2) Phi, so the step is too."""
    sigmas, strength = torch.tensor([0.5, 0.2], dtype=torch.float64), 0.7
    x = problem.mean[None] + 0.5 * NoiseSource([1]).like(problem.mean[None])
    seen = []

    def spy(v, sigma):
        seen.append(v.detach().clone())
        return problem.prior(v, sigma)

    out = dps(spy, None, problem.scan[None], x, sigmas, NoiseSource([2]), operator=problem.operator, strength=strength)
    denoised = problem.prior(x, 0.5)
    shrink = problem.prior.spectrum / (problem.prior.spectrum + 0.5**2)
    back = (problem.operator(denoised) - problem.scan) @ problem.operator.matrix  # A^T (A D - y)
    gradient = (back @ problem.prior.transform.T * shrink) @ problem.prior.transform
    kept, fresh = ancestral_split(0.5, 0.2, 1.0)
    largest = torch.linalg.matrix_norm(problem.operator.matrix, 2)
    expected = denoised + kept * (x - denoised) + fresh * NoiseSource([2]).like(x) - strength / largest**2 * gradient
    assert torch.allclose(seen[1], expected, atol=1e-12)
    assert torch.allclose(out, problem.prior(expected, 0.2), atol=1e-12) and not out.requires_grad


def test_dps_comes_near_the_scan(problem):
    def misfit(strength):
        sampler = partial(dps, operator=problem.operator, strength=strength)
        samples = problem.sample(sampler, "none", 60, 2.0, 0.01, count=8)
        return float((problem.operator(samples) - problem.scan).square().mean().sqrt())

    assert misfit(1.0) < 0.3 * misfit(1e-6)


def test_guidance_by_a_gradient_goes_the_same_road(tmp_path, thick_scan, tiny_conditioned_prior):
    """DPS comes nearer to the scan than no guidance at all, but not to the last digit."""
    residuals = []
    for guidance in (0.5, 1e-9):
        words = ["sampler=dps", "consistency=none", f"sampler.guidance={guidance}", "steps=4", "samples=1"]
        paths = super_resolve(settings(thick_scan, tmp_path, tiny_conditioned_prior, "thickness=5", *words))
        residuals.append(json.loads(paths["json"].read_text())["consistency"]["chi2"])
    assert 0 < residuals[0] < 0.9 * residuals[1]
    with pytest.raises(InputError, match="add consistency=none"):
        super_resolve(settings(thick_scan, tmp_path, tiny_conditioned_prior, "sampler=dps"))
