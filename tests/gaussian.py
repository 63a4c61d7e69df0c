"""The analytic Gaussian prior: closed-form denoiser, error covariance and posterior, the ruler of every sampler."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from focvs.acquisition.dct import dct_matrix
from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.sampling.consistency import Consistency, Measured
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.sampling.samplers import NoiseSource

NOISE = 0.02


@dataclass(frozen=True, eq=False)
class GaussianPrior:
    """Columns distributed as N(mean, Phi^T diag(spectrum) Phi) along the last axis, Phi the orthonormal DCT.

    Attributes:
        mean: ``(n,)``.
        spectrum: ``(n,)`` variance at each frequency.
        transform: ``(n, n)`` orthonormal, frequencies in rows.
    """

    mean: Tensor
    spectrum: Tensor
    transform: Tensor

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """E[clean | x] = mean + S (S + sigma^2)^-1 (x - mean)."""
        shrink = self.spectrum / (self.spectrum + sigma**2)
        return self.mean + ((x - self.mean) @ self.transform.T * shrink) @ self.transform

    def error_spectrum(self, sigma: float) -> Tensor:
        """Variance of clean - D(x, sigma) at each frequency, S sigma^2 / (S + sigma^2)."""
        return self.spectrum * sigma**2 / (self.spectrum + sigma**2)

    def posterior(self, operator: ThroughPlaneOperator, scan: Tensor, noise_sigma: float) -> tuple[Tensor, Tensor]:
        """Posterior mean ``(..., n)`` and covariance ``(n, n)`` given ``scan`` ``(..., m)``."""
        covariance = self.transform.T @ (self.spectrum[:, None] * self.transform)
        gain = operator.kalman_gain(covariance, noise_sigma)
        mean = self.mean + (scan - operator(self.mean)) @ gain.T
        return mean, covariance - gain @ operator.matrix @ covariance

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``(count, n)`` draws."""
        white = torch.randn(count, len(self.mean), generator=generator, dtype=self.mean.dtype)
        return self.mean + (white * self.spectrum.sqrt()) @ self.transform


class Problem:
    """A Gaussian prior, an operator, scans drawn from them, and the exact posterior."""

    def __init__(self, thickness: float = 4.0, spacing: float = 4.0, columns: int = 40, slices: int = 16):
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

    def consistency(self, rule: str, sigmas: Tensor, **options) -> Consistency:
        spectra = torch.stack([self.prior.error_spectrum(s) for s in sigmas.tolist()])
        return Consistency(rule, self.operator, spectra, NOISE, **options)

    def measured(self, rule: str, sigmas: Tensor, scan: Tensor | None = None) -> Measured:
        return Measured(self.consistency(rule, sigmas), (self.scan if scan is None else scan)[None])

    def start(self, sigma: float, noise: NoiseSource) -> Tensor:
        first = self.operator.replace(self.prior.mean.expand_as(self.truth), self.scan)
        return first + sigma * noise.like(first.expand(len(noise.generators), *first.shape))

    def sample(self, make, rule: str, steps: int, start: float, end: float, count: int) -> Tensor:
        """``count`` samples; ``make`` binds a sampler to a :class:`Measured` and a :class:`NoiseSource`."""
        sigmas, noise = karras_sigmas(steps, start, end), NoiseSource(0, range(1, count + 1))
        return make(self.measured(rule, sigmas), noise)(self.prior, self.start(start, noise), sigmas)
