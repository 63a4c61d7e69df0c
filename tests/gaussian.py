"""The analytic Gaussian prior: closed-form denoiser, error covariance and posterior, the ruler of every sampler."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from focvs.acquisition.operator import ThroughPlaneOperator


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

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        """E[clean | x] = mean + S (S + sigma^2)^-1 (x - mean)."""
        shrink = self.spectrum / (self.spectrum + torch.as_tensor(sigma, dtype=x.dtype) ** 2)
        return self.mean + ((x - self.mean) @ self.transform.T * shrink) @ self.transform

    def error_spectrum(self, sigma: float) -> Tensor:
        """Variance of clean - D(x, sigma) at each frequency, S sigma^2 / (S + sigma^2)."""
        return self.spectrum * sigma**2 / (self.spectrum + sigma**2)

    def posterior(self, operator: ThroughPlaneOperator, scan: Tensor, noise_sigma: float) -> tuple[Tensor, Tensor]:
        """Posterior mean ``(..., n)`` and covariance ``(n, n)`` given ``scan`` ``(..., m)``."""
        covariance = self.transform.T @ (self.spectrum[:, None] * self.transform)
        gain = operator.gain(covariance, noise_sigma)
        mean = self.mean + (scan - operator(self.mean)) @ gain.T
        return mean, covariance - gain @ operator.matrix @ covariance

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """``(count, n)`` draws."""
        white = torch.randn(count, len(self.mean), generator=generator, dtype=self.mean.dtype)
        return self.mean + (white * self.spectrum.sqrt()) @ self.transform
