"""Samples around a mean, on a Gaussian prior whose posterior is known in closed form."""

import pytest
import torch

from focvs.acquisition.linear_operator import MatrixOperator
from focvs.reconstruction.residuals import SIGMAS, TOLD, told_less
from focvs.sampling.around import MeasuredAround
from focvs.sampling.consistency import Consistency, Measured
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.sampling.samplers import NoiseSource, ddpm, dpmpp_2m

SCALE = 0.2
LEVELS = karras_sigmas(10, *SIGMAS)


def problem():
    """Touching slices of four voxels, the posterior mean of x ~ N(0, s^2), and the projection onto what it leaves."""
    operator = MatrixOperator(torch.kron(torch.eye(3, dtype=torch.float64), torch.full((1, 4), 0.25).double()))
    truth = SCALE * torch.randn(40, 40, 12, generator=torch.Generator().manual_seed(1))
    y = operator(truth)
    left = torch.eye(12) - (operator.pseudo_inverse_matrix @ operator.matrix).float()
    return operator, y, operator.pseudo_inverse(y), left


def test_a_replaced_residual_reproduces_the_scan_around_any_mean():
    operator, y, _, _ = problem()
    mean, residual = torch.randn(2, 40, 40, 12)
    scale = torch.rand(40, 40, 12) + 0.05
    measured = MeasuredAround(Consistency("ddnm", operator), y[None], mean, scale)
    found = mean + scale * measured.replace(residual[None], 0)
    assert torch.allclose(operator(found), y[None], atol=1e-5)


def test_a_draw_without_noise_is_the_replaced_residual():
    operator, y, mean, _ = problem()
    rule = Consistency("calibrated", operator, torch.full((1, 12), 0.01, dtype=torch.float64), 0.05)
    measured = MeasuredAround(rule, y[None], mean, torch.rand(40, 40, 12) + 0.05)
    residual = torch.randn(1, 40, 40, 12)
    drawn = measured.draw(residual, 0, torch.zeros_like(residual), torch.zeros_like(y[None]))
    assert torch.allclose(drawn, measured.replace(residual, 0), atol=1e-4)


def test_samples_have_the_spread_of_the_posterior():
    """x | y ~ N(A^+ y, s^2 (I - A^+ A)): the prior's denoiser is E[r | r_t], the replacement does the rest."""
    operator, y, mean, left = problem()
    measured = MeasuredAround(Consistency("ddnm", operator), y[None], mean, torch.full_like(mean, SCALE))
    samples = []
    for m in range(8):
        start = float(LEVELS[0]) * NoiseSource(0, [m + 1]).like(mean[None])
        residual = dpmpp_2m(lambda r, s: r / (1 + s**2), start, LEVELS, consistency=measured)
        samples.append(mean + SCALE * residual[0])
    drawn = torch.stack(samples)
    covariance = torch.cov((drawn - mean).reshape(-1, 12).T) / SCALE**2
    assert torch.allclose(covariance, left, atol=0.1)
    assert 0.95 < float(covariance.trace() / left.trace()) < 1.15
    assert float((operator(drawn) - y).abs().max()) < 1e-5


@pytest.mark.parametrize("power", [0.1, 1.0, 10.0])
def test_ten_levels_keep_the_variance_that_ancestral_sampling_loses(power):
    """Of a residual with this variance, by the exact denoiser."""
    free = Measured(Consistency("none", problem()[0]), torch.zeros(1, 1))
    start = float(LEVELS[0]) * torch.randn(1, 200_000, generator=torch.Generator().manual_seed(0))

    def denoise(r, s):
        return power / (power + s**2) * r

    kept = float(dpmpp_2m(denoise, start, LEVELS, consistency=free).var()) / power
    ancestral = float(ddpm(denoise, start, LEVELS, consistency=free, noise=NoiseSource(0)).var()) / power
    assert 0.95 < kept < 1.12 and ancestral < 0.65


def test_an_exact_denoiser_that_is_told_of_less_noise_widens_samples_by_as_much():
    free = Measured(Consistency("none", problem()[0]), torch.zeros(1, 1))
    start = float(LEVELS[0]) * torch.randn(1, 1000, generator=torch.Generator().manual_seed(0))
    plain, wider = (
        dpmpp_2m(denoise, start, karras_sigmas(200, *SIGMAS), consistency=free)
        for denoise in (lambda r, s: r / (1 + s**2), told_less(lambda r, s: r / (1 + s**2)))
    )
    assert float((wider / plain).mean()) == pytest.approx(1 / TOLD, rel=2e-3)
