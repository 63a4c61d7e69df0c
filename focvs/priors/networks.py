"""The 2D network: diffusers' ``UNet2DModel`` behind an orthonormal Haar stem; and what networks are told of a scan.

A slab is a slice with its neighbours as channels, ``(b, s, h, w)`` with s odd and the slice in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor, nn

from focvs.acquisition.degradation import Degradation


@dataclass(frozen=True, eq=False)
class ScanCondition:
    """What a conditioned network is told about the scan behind each image, the slice axis last.

    Attributes:
        image: ``(b, s, h, w)`` slabs, or ``(b, 1, x, y, z)``, as the images: the scan interpolated to their grid,
            prior units; zero where unknown.
        thickness_px: ``(b,)`` FWHM of the slice profile in pixels.
        spacing_px: ``(b,)`` distance of slice centres in pixels; 0 where there is no scan.
        noise: ``(b,)`` standard deviation of the scan's noise, prior units.
    """

    image: Tensor
    thickness_px: Tensor
    spacing_px: Tensor
    noise: Tensor

    @classmethod
    def unknown(cls, like: Tensor) -> ScanCondition:
        """No scan, for the images ``like``: an unconditional prior."""
        zero = like.new_zeros(len(like))
        return cls(torch.zeros_like(like), zero, zero, zero)

    @classmethod
    def of(cls, image: Tensor, acquisition: tuple[float, float, float]) -> ScanCondition:
        """The same ``acquisition``, thickness and spacing in pixels and noise, for every item of ``image``."""
        return cls(image, *(image.new_full((len(image),), number) for number in acquisition))

    @classmethod
    def simulated(
        cls, acquisition: Degradation, images: Tensor, noise_sigma: float = 0.0, noise: Tensor | None = None
    ) -> ScanCondition:
        """The scan ``acquisition`` makes of ``images`` ``(b, c, ..., n)`` with unit ``noise`` ``(b, c, ..., m)``."""
        image = acquisition(images, noise_sigma, noise)
        return cls.of(image, (acquisition.thickness_px, acquisition.spacing_px, noise_sigma))

    def numbers(self) -> Tensor:
        """``(b, 3)`` of order one: thickness and spacing over 8 pixels, ten times the noise."""
        return torch.stack([self.thickness_px / 8, self.spacing_px / 8, 10 * self.noise], dim=1)


def require_background(acquisition: tuple[float, float, float] | None, background: Tensor | None) -> None:
    """Refuse to tell a network of a scan that is not there.

    Raises:
        ValueError: for an acquisition without the interpolated scan.
    """
    if acquisition is not None and background is None:
        raise ValueError("a conditioned prior needs the interpolated scan as background.")


def middle(slab: Tensor) -> Tensor:
    """The slice ``(b, 1, ...)`` of slabs ``(b, s, ...)``."""
    return slab[:, slab.shape[1] // 2].unsqueeze(1)


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
    ):
        super().__init__()
        if slab < 1 or slab % 2 == 0:
            raise ValueError(f"slab={slab} must be an odd number of slices.")
        if prediction not in ("edm", "epsilon"):
            raise ValueError(f"prediction={prediction} is not known; choose edm or epsilon.")
        self.told_numbers, self.prediction = told_numbers, prediction
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
        return slab[:, [at - reach, at + reach]] - centre

    def _stem(self, x: Tensor) -> Tensor:
        """Haar coefficients of the images, padded to a size the levels divide."""
        pad_h, pad_w = -x.shape[-2] % self.multiple, -x.shape[-1] % self.multiple
        if pad_h or pad_w:
            x = F.pad(x, (0, pad_w, 0, pad_h), mode="replicate")
        for _ in range(self.stem_levels):
            x = haar(x)
        return x
