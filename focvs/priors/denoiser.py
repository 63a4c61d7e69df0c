"""The denoiser contract: the only boundary between a network and a sampler.

A denoiser is a callable ``D(x, sigma) -> denoised``: ``x = clean + sigma * noise`` in prior units (air near
-1, the white level at +1), ``sigma`` the one noise level of all items, and ``denoised`` the posterior mean
E[clean | x], the same shape as ``x``. A 2D denoiser that looks at the slices beside the one it denoises takes slabs
``(b, s, h, w)`` and gives the middle ``(b, 1, h, w)``. Only in training may each item have its own noise level
(:class:`EDMDenoiser`); samplers always use one level for all items.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from focvs.priors.condition import ScanCondition, middle


class Denoiser(Protocol):
    """Estimates the clean image from a noisy one."""

    def __call__(self, x: Tensor, sigma: float) -> Tensor: ...


def per_item(sigma: float | Tensor, x: Tensor) -> Tensor:
    """A noise level ``(b,)`` of each item of ``x``, made on its device."""
    return sigma.to(x).expand(len(x)) if isinstance(sigma, Tensor) else x.new_full((len(x),), sigma)


class ConditionedNetwork(Protocol):
    """A raw network: ``(x, noise condition (b,), scan)`` to one channel.

    :class:`HaarUNet2D`, its 3D sister, or :class:`DiffusionUNet2D`.
    """

    sigma_data: float
    sigma_residual: float
    conditioned: bool
    prediction: str

    def __call__(self, x: Tensor, noise_condition: Tensor, condition: ScanCondition | None = None) -> Tensor: ...


class EDMDenoiser(nn.Module):
    """A raw network with EDM preconditioning (Karras et al. 2022, equation 7 and table 1).

    With a scan the preconditioning is that of the residual around the interpolated scan, whose standard deviation
    is smaller: D = c + c_skip (x - c) + c_out F(x, c). A network that predicts the noise itself (Ho et al. 2020) has
    D = x - sigma F(x, c).

    Args:
        network: maps slabs ``(b, s, h, w)``, a noise condition ``(b,)`` and, where it is conditioned, a
            :class:`ScanCondition` to ``(b, 1, h, w)``; knows its ``sigma_data``, ``sigma_residual`` and ``prediction``.
    """

    network: ConditionedNetwork

    def __init__(self, network: ConditionedNetwork):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, sigma: float | Tensor, condition: ScanCondition | None = None) -> Tensor:
        sigma = per_item(sigma, x)
        column = (-1, *[1] * (x.ndim - 1))
        s, scale = sigma.view(column), self._scale(x, condition).view(column)
        raw = self.network(x / (s**2 + self.network.sigma_data**2).sqrt(), sigma.log() / 4, condition)
        if self.network.prediction == "epsilon":
            return middle(x) - s * raw.to(x.dtype)
        total = (s**2 + scale**2).sqrt()
        around = 0.0 if condition is None else middle(condition.image)
        return around + (scale / total) ** 2 * (middle(x) - around) + s * scale / total * raw.to(x.dtype)

    def loss(self, clean: Tensor, sigma: Tensor, noise: Tensor, condition: ScanCondition | None = None) -> Tensor:
        """Denoising loss with weight 1 / c_out^2 (Karras et al. 2022, equation 8), 1 / sigma^2 for a network that
        predicts noise, one value per item.

        ``clean`` and ``noise`` are slabs, of which the middle counts.
        """
        column = (-1, *[1] * (clean.ndim - 1))
        s, scale = sigma.view(column), self._scale(clean, condition).view(column)
        denoised = self(clean + s * noise, sigma, condition)
        weight = s**-2 if self.network.prediction == "epsilon" else s**-2 + scale**-2
        return (weight * (denoised - middle(clean)) ** 2).flatten(1).mean(1)

    def _scale(self, x: Tensor, condition: ScanCondition | None) -> Tensor:
        """Standard deviation of clean images, or of their residual around the interpolated scan, ``(b,)``."""
        data = x.new_full((len(x),), self.network.sigma_data)
        if condition is None:
            return data
        return torch.where(condition.spacing_px > 0, self.network.sigma_residual, data)
