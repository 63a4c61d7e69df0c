"""What a mean leaves open, as a diffusion: the residual of a volume around its mean, in deviations of it.

Where the mean is m and its deviation s, the volume is m + s r. The residual r is of order one everywhere, whatever the
contrast and the slices, so that one diffusion of few levels serves (Mardani et al. 2023, CorrDiff, section 3.2).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from focvs.priors.condition import ScanCondition, middle
from focvs.priors.denoiser import per_item
from focvs.priors.diffusion_network import NoisySlabUNet2D

LEAST_DEVIATION = 0.005  # prior units: where less is left open, the residual is measured in this


def deviation_scale(log_deviation: Tensor) -> Tensor:
    """s, the unit of the residual in prior units."""
    return log_deviation.exp().clamp_min(LEAST_DEVIATION)


def as_image(log_deviation: Tensor) -> Tensor:
    """The logarithm of a deviation as networks see it, of order one."""
    return (log_deviation.clamp_min(math.log(LEAST_DEVIATION)) + 3.0) / 1.5


class ResidualUNet2D(NoisySlabUNet2D):
    """The raw network of the residual.

    Args:
        slab: slices of each image, an odd number.
        images: how many it sees: the noisy residual, the interpolated scan, its mean, and the deviation of that.
        channels: width of each level.
        blocks: residual blocks of each level.
        embedding: width of the noise level's embedding.
        trained: as of :class:`focvs.priors.mean_network.MeanUNet2D`.

    Raises:
        ValueError: as that.
    """

    def __init__(
        self,
        slab: int = 5,
        images: int = 4,
        channels: tuple[int, ...] = (64, 128, 192),
        blocks: tuple[int, ...] = (1, 2, 3),
        embedding: int = 128,
        trained: dict[str, Any] | None = None,
    ):
        super().__init__()
        self._build_noisy(slab, images, channels, blocks, embedding, trained)

    def forward(self, images: Tensor, noise_condition: Tensor) -> Tensor:
        """Raw output ``(b, 1, h, w)`` of images ``(b, images * slab, h, w)`` and ``(b,)`` about -1 to 1."""
        return self._raw(images, noise_condition)


class ResidualDenoiser(nn.Module):
    """D(r + sigma n, sigma) = E[r | r + sigma n, scan, mean], with EDM preconditioning for a residual of deviation 1.

    Karras et al. 2022, equation 7 and table 1, sigma_data = 1. The condition's image holds the slabs of the
    interpolated scan, of the mean and of the deviation (:func:`as_image`), one after the other.

    Args:
        network: raw network.
    """

    def __init__(self, network: ResidualUNet2D):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, sigma: float | Tensor, condition: ScanCondition) -> Tensor:
        sigma = per_item(sigma, x)
        s = sigma.view(-1, 1, 1, 1)
        total = (s**2 + 1).sqrt()
        raw = self.network(torch.cat([x / total, condition.image], dim=1), sigma.log() / 4)
        return middle(x) / total**2 + s / total * raw.to(x.dtype)

    def loss(self, residual: Tensor, told: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
        """Denoising loss of slabs ``(b, slab, h, w)`` and what is told, weight 1 / c_out^2 (equation 8), ``(b,)``.

        1 is what a network that has learnt nothing about a white residual has.
        """
        s = sigma.view(-1, 1, 1, 1)
        zero = sigma.new_zeros(len(sigma))
        denoised = self(residual + s * noise, sigma, ScanCondition(told, zero, zero, zero))
        return ((1 + s**-2) * (denoised - middle(residual)).square()).flatten(1).mean(1)
