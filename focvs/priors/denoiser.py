"""The denoiser contract: the only boundary between a network and a sampler.

A denoiser is a callable ``D(x, sigma) -> denoised``: ``x = clean + sigma * noise`` in prior units (air near
-1, the 99.5th percentile of the head at +1), ``sigma`` one noise level per leading item or one number, and
``denoised`` the posterior mean E[clean | x], the same shape as ``x``.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn


class Denoiser(Protocol):
    """Estimates the clean image from a noisy one."""

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor: ...


class EDMDenoiser(nn.Module):
    """A raw network with EDM preconditioning (Karras et al. 2022, equation 7 and table 1).

    Args:
        network: maps ``(b, c, h, w)`` and a noise condition ``(b,)`` to ``(b, c, h, w)``.
        sigma_data: standard deviation of clean images in prior units.
    """

    def __init__(self, network: nn.Module, sigma_data: float = 0.5):
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=x.dtype, device=x.device).expand(x.shape[0])
        s = sigma.view(-1, *[1] * (x.ndim - 1))
        total = (s**2 + self.sigma_data**2).sqrt()
        c_skip = (self.sigma_data / total) ** 2
        c_out = s * self.sigma_data / total
        raw = self.network(x / total, sigma.log() / 4)
        return c_skip * x + c_out * raw.to(x.dtype)

    def loss(self, clean: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        """Denoising loss with weight 1 / c_out^2 (Karras et al. 2022, equation 8), one value per item."""
        s = sigma.view(-1, *[1] * (clean.ndim - 1))
        denoised = self(clean + s * noise, sigma)
        weight = (s**2 + self.sigma_data**2) / (s * self.sigma_data) ** 2
        return (weight * (denoised - clean) ** 2).flatten(1).mean(1)
