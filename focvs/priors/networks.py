"""Networks: diffusers' ``UNet2DModel`` behind an orthonormal Haar stem."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor


def haar(x: Tensor) -> Tensor:
    """Orthonormal 2 x 2 Haar transform, ``(b, c, h, w)`` to ``(b, 4c, h/2, w/2)``; white noise stays white.

    Raises:
        RuntimeError: if h or w is odd.
    """
    a, b, c, d = _unshuffle(x)
    return torch.cat([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], dim=1) / 2


def haar_inverse(x: Tensor) -> Tensor:
    """Inverse (and adjoint) of :func:`haar`."""
    a, b, c, d = x.chunk(4, dim=1)
    parts = torch.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], dim=2) / 2
    return F.pixel_shuffle(parts.flatten(1, 2), 2)


def _unshuffle(x: Tensor) -> tuple[Tensor, ...]:
    batch, channels, height, width = x.shape
    blocks = F.pixel_unshuffle(x, 2).view(batch, channels, 4, height // 2, width // 2)
    return blocks.unbind(2)


class HaarUNet2D(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """``UNet2DModel`` on the Haar coefficients of a slice: a quarter of the pixels, about a quarter of the cost.

    Args:
        channels: image channels.
        block_out_channels: width of each level; each level halves the grid.
        layers_per_block: residual blocks per level.
        norm_groups: groups of the group normalisation.
        mid_attention: self-attention at the coarsest level.
        sigma_data: standard deviation of clean images in prior units, stored with the weights.
    """

    @register_to_config
    def __init__(
        self,
        channels: int = 1,
        block_out_channels: tuple[int, ...] = (32, 64, 128, 128),
        layers_per_block: int = 1,
        norm_groups: int = 8,
        mid_attention: bool = False,
        sigma_data: float = 0.5,
    ):
        super().__init__()
        levels = len(block_out_channels)
        self.sigma_data = sigma_data
        self.multiple = 2**levels  # heights and widths that are a multiple of this many pixels need no padding
        self.unet = UNet2DModel(
            in_channels=4 * channels,
            out_channels=4 * channels,
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            norm_num_groups=norm_groups,
            add_attention=mid_attention,
        )

    def forward(self, x: Tensor, noise_condition: Tensor) -> Tensor:
        """Raw network output for ``x`` ``(b, c, h, w)``; any size, edges padded by replication."""
        height, width = x.shape[-2:]
        pad_h, pad_w = -height % self.multiple, -width % self.multiple
        if pad_h or pad_w:
            x = F.pad(x, (0, pad_w, 0, pad_h), mode="replicate")
        out = haar_inverse(self.unet(haar(x), 1000 * noise_condition).sample)
        return out[..., :height, :width]
