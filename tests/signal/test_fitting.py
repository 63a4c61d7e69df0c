import math

import pytest
import torch

from focvs.signal.fitting import fit_maps
from focvs.signal.sequences import Mprage, Several, SpinEcho, SpoiledGradientEcho, jacobian

THREE = Several((SpinEcho(5.0, 0.015), SpinEcho(5.0, 0.1), SpoiledGradientEcho(0.018, 0.003, math.radians(20))))
FOUR = Several((*THREE.sequences, Mprage(2.3, 0.003, 0.9, 0.15, 0.0072, 176)))
START = torch.tensor([1.0, 1.0, 0.08], dtype=torch.float64)


@pytest.fixture
def maps():
    generator = torch.Generator().manual_seed(0)
    spread = torch.rand(5, 40, 3, generator=generator, dtype=torch.float64)
    return torch.tensor([0.3, 0.3, 0.03]) + spread * torch.tensor([0.9, 3.5, 1.5])


@pytest.mark.parametrize("sequence", [THREE, FOUR])
def test_signals_without_noise_give_the_maps_back(sequence, maps):
    fit = fit_maps(sequence, sequence(maps), START, iterations=60)
    torch.testing.assert_close(fit.maps, maps, rtol=1e-4, atol=1e-6)
    assert float(fit.misfit.max()) < 1e-10


def test_the_covariance_is_that_of_many_noisy_fits():
    truth, sigma = torch.tensor([0.8, 1.1, 0.08], dtype=torch.float64), 0.002
    signals = THREE(truth).expand(4000, 3)
    noisy = signals + sigma * torch.randn(
        signals.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64
    )
    fit = fit_maps(THREE, noisy, START, torch.full((3,), sigma**-2, dtype=torch.float64), iterations=40)
    spread = torch.cov(fit.maps.log().T)
    torch.testing.assert_close(spread, fit.covariance.mean(0), rtol=0.15, atol=1e-6)


def test_a_prior_pulls_as_a_gaussian_does():
    """Where signals are nearly linear the fit is the Gaussian posterior mean."""
    origin = torch.tensor([0.8, 1.1, 0.08], dtype=torch.float64)
    signal, derivative = jacobian(THREE, origin)
    derivative = derivative * origin
    offset = torch.tensor([1e-3, -2e-3, 1e-3], dtype=torch.float64)
    weight = torch.diag(torch.tensor([4.0, 1.0, 9.0], dtype=torch.float64))
    prior = torch.diag(torch.tensor([0.5, 0.1, 0.2], dtype=torch.float64))
    fit = fit_maps(THREE, (signal + offset)[None], origin, weight, prior, iterations=60)
    normal = derivative.T @ weight @ derivative + prior
    expected = torch.linalg.solve(normal, derivative.T @ weight @ offset)
    torch.testing.assert_close(fit.maps[0].log() - origin.log(), expected, rtol=0.02, atol=1e-6)
    torch.testing.assert_close(fit.covariance[0], torch.linalg.inv(normal), rtol=0.06, atol=1e-6)


def test_weights_of_any_shape_say_the_same(maps):
    signals = THREE(maps) * 1.02
    weights = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    first, *others = (
        fit_maps(THREE, signals, START, w, iterations=30).maps
        for w in (weights, weights.expand(5, 40, 3), torch.diag(weights), torch.diag(weights).expand(5, 40, 3, 3))
    )
    for other in others:
        torch.testing.assert_close(other, first)


def test_maps_stay_within_bounds():
    fit = fit_maps(THREE, torch.tensor([[1e-9, 2.0, 5.0]], dtype=torch.float64), START)
    assert (
        0.05 <= float(fit.maps[0, 1]) <= 8 and 0.004 <= float(fit.maps[0, 2]) <= 4 and bool(fit.maps.isfinite().all())
    )
