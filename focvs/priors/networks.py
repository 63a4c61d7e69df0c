"""The 2D network: diffusers' ``UNet2DModel`` behind an orthonormal Haar stem.

A slab is a slice with its neighbours as channels, ``(b, s, h, w)`` with s odd and the slice in the middle.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn

from focvs.priors.condition import ScanCondition, middle
from focvs.priors.haar import haar, haar_inverse


class HaarUNet2D(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """``UNet2DModel`` on the Haar coefficients of a slice: a quarter of the pixels, about a quarter of the cost.

    Args:
        stem_levels: Haar transforms in a row, each of all the bands of the one before; 0 leaves pixels.
        slab: slices the network sees, of the noisy image and of the scan: an odd number, the one it denoises in the
            middle; a neighbour that is not given counts as equal to it.
        block_out_channels: width of each level; each level halves the grid.
        layers_per_block: residual blocks per level.
        norm_groups: groups of the group normalisation.
        mid_attention: self-attention at the coarsest level.
        sigma_data: standard deviation of clean images in prior units, stored with the weights.
        conditioned: whether the network also sees the interpolated scan and the numbers of its acquisition.
        sigma_residual: standard deviation of clean images around the interpolated scan, prior units.
        told_numbers: whether a conditioned network is told the numbers of the acquisition besides the scan.
        prediction: ``edm``, the preconditioning of Karras et al. (2022), or ``epsilon``, the noise.
        trained: what the weights were trained on, kept in their configuration: ``voxel_range_mm``, in-plane; whether
            ``mirrored``. None where that is not known.

    Raises:
        ValueError: for a slab of an even number of slices, or an unknown prediction.
    """

    @register_to_config
    def __init__(
        self,
        slab: int = 1,
        stem_levels: int = 1,
        block_out_channels: tuple[int, ...] = (32, 64, 128, 128),
        layers_per_block: int = 1,
        norm_groups: int = 8,
        mid_attention: bool = False,
        sigma_data: float = 0.5,
        conditioned: bool = False,
        sigma_residual: float = 0.15,
        told_numbers: bool = True,
        prediction: str = "edm",
        trained: dict[str, Any] | None = None,
    ):
        super().__init__()
        if slab < 1 or slab % 2 == 0:
            raise ValueError(f"slab={slab} must be an odd number of slices.")
        if prediction not in ("edm", "epsilon"):
            raise ValueError(f"prediction={prediction} is not known; choose edm or epsilon.")
        self.told_numbers, self.prediction, self.trained = told_numbers, prediction, trained
        self.slab, self.stem_levels = slab, stem_levels
        levels, bands = len(block_out_channels), 4**stem_levels
        self.sigma_data, self.sigma_residual, self.conditioned = sigma_data, sigma_residual, conditioned
        self.multiple = 2 ** (
            levels - 1 + stem_levels
        )  # heights and widths that are a multiple of this many pixels need no padding
        self.unet = UNet2DModel(
            in_channels=bands * slab * (2 if conditioned else 1),
            out_channels=bands,
            block_out_channels=tuple(block_out_channels),
            layers_per_block=layers_per_block,
            down_block_types=("DownBlock2D",) * levels,
            up_block_types=("UpBlock2D",) * levels,
            norm_num_groups=norm_groups,
            add_attention=mid_attention,
            class_embed_type="identity" if conditioned and told_numbers else None,
        )
        if conditioned and told_numbers:
            width = 4 * block_out_channels[0]  # of UNet2DModel's time embedding
            last = nn.Linear(width, width)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.acquisition = nn.Sequential(nn.Linear(3, width), nn.SiLU(), last)

    def forward(self, x: Tensor, noise_condition: Tensor, condition: ScanCondition | None = None) -> Tensor:
        """Raw network output ``(b, 1, h, w)``; any size, edges padded by replication.

        Args:
            x: scaled noisy slabs ``(b, s, h, w)``, or slices alone ``(b, 1, h, w)``.
            noise_condition: ``(b,)``.
            condition: the scan, for a conditioned network; None is no scan.
        """
        height, width = x.shape[-2:]
        images, embedding = [x], None
        if self.conditioned:
            condition = condition or ScanCondition.unknown(x)
            images.append(condition.image.to(x))
            if self.told_numbers:
                embedding = self.acquisition(condition.numbers().to(x))
        rings = [self._ring(image, reach) for reach in range(self.slab // 2 + 1) for image in images]
        coefficients = torch.cat([self._stem(ring) for ring in rings], dim=1)
        out = self.unet(coefficients, 1000 * noise_condition, class_labels=embedding).sample
        for _ in range(self.stem_levels):
            out = haar_inverse(out)
        return out[..., :height, :width]

    @staticmethod
    def _ring(slab: Tensor, reach: int) -> Tensor:
        """The slice itself, or its neighbours on both sides at a distance, less the slice."""
        centre, at = middle(slab), slab.shape[1] // 2
        if reach == 0:
            return centre
        if reach > at:
            return torch.zeros_like(centre.expand(-1, 2, -1, -1))
        return torch.stack([slab[:, at - reach], slab[:, at + reach]], dim=1) - centre

    def _stem(self, x: Tensor) -> Tensor:
        """Haar coefficients of the images, padded to a size the levels divide."""
        pad_h, pad_w = -x.shape[-2] % self.multiple, -x.shape[-1] % self.multiple
        if pad_h or pad_w:
            x = F.pad(x, (0, pad_w, 0, pad_h), mode="replicate")
        for _ in range(self.stem_levels):
            x = haar(x)
        return x
