"""Networks of slabs that know the noise level, and the unconditional diffusion prior made of one.

The trunk is that of the mean (:mod:`focvs.priors.mean_network`): plain residual blocks on Haar coefficients.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from focvs.priors.condition import ScanCondition
from focvs.priors.haar import haar_inverse
from focvs.priors.mean_network import SlabUNet2D

FREQUENCIES = 8  # of the noise level's embedding


class NoisySlabUNet2D(SlabUNet2D):
    """A U-Net of slabs that is told the noise level by an offset and a factor in every residual block."""

    def _build_noisy(
        self,
        slab: int,
        images: int,
        channels: tuple[int, ...],
        blocks: tuple[int, ...],
        embedding: int,
        trained: dict[str, Any] | None,
        **numbers: float,
    ) -> None:
        """As :meth:`SlabUNet2D._build`, and the layers of the noise level."""
        self._build(slab, images, channels, blocks, trained, embedding=embedding, **numbers)
        self.embed = nn.Sequential(nn.Linear(1 + 2 * FREQUENCIES, embedding), nn.SiLU())
        self.change = nn.ModuleList(_start_unchanged(nn.Linear(embedding, 2 * width)) for width in channels)

    def _raw(self, images: Tensor, noise_condition: Tensor) -> Tensor:
        """Raw output ``(b, 1, h, w)`` of images ``(b, images * slab, h, w)`` and ``(b,)`` about -1 to 1."""
        height, width = images.shape[-2:]
        multiples = torch.arange(1, FREQUENCIES + 1, device=noise_condition.device, dtype=noise_condition.dtype)
        angles = noise_condition[:, None] * multiples
        told = self.embed(torch.cat([noise_condition[:, None], angles.sin(), angles.cos()], dim=1))
        changes = []
        for layer in self.change:
            offset, factor = layer(told)[..., None, None].chunk(2, dim=1)
            changes.append((offset, 1 + factor))
        return haar_inverse(self._quarters(images, changes))[..., :height, :width]


class DiffusionUNet2D(NoisySlabUNet2D):
    """The raw network of an unconditional diffusion prior, for :class:`focvs.priors.denoiser.EDMDenoiser`.

    It is never told of a scan, in training or after: what is known of one comes in by replacement alone.

    Args:
        slab: slices of the noisy image, an odd number; the one it denoises is in the middle.
        channels: width of each level.
        blocks: residual blocks of each level.
        embedding: width of the noise level's embedding.
        sigma_data: standard deviation of clean images in prior units.
        trained: as of :class:`focvs.priors.mean_network.MeanUNet2D`.

    Raises:
        ValueError: as that.
    """

    conditioned = False
    prediction = "edm"

    def __init__(
        self,
        slab: int = 5,
        channels: tuple[int, ...] = (64, 128, 192),
        blocks: tuple[int, ...] = (2, 3, 4),
        embedding: int = 128,
        sigma_data: float = 0.5,
        trained: dict[str, Any] | None = None,
    ):
        super().__init__()
        self._build_noisy(slab, 1, channels, blocks, embedding, trained, sigma_data=sigma_data)
        self.sigma_data = self.sigma_residual = sigma_data

    def forward(self, x: Tensor, noise_condition: Tensor, condition: ScanCondition | None = None) -> Tensor:
        """Raw output ``(b, 1, h, w)`` of scaled noisy slabs ``(b, s, h, w)``, or of slices alone ``(b, 1, h, w)``."""
        return self._raw(x.expand(-1, self.slab, -1, -1) if x.shape[1] == 1 else x, noise_condition)


def _start_unchanged(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
