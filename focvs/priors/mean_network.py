"""The networks of the mean: slabs of the interpolated scan to E[volume | scan], and to how far it may be off.

Plain residual blocks without normalisation, so that nearly all of the time goes into convolutions, which processors
with bfloat16 units do many times faster than anything around them.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from focvs.priors.folder_network import FolderNetwork
from focvs.priors.haar import haar, haar_inverse

GUIDED_IMAGES = 4  # the scan, what a guided filter makes of it and the guide, the guide, and the mean
MOST_LEVELS, MOST_NUMBER = 8, 4096  # of levels; of anything else, so that a wrong configuration ends at once


class ResidualBlock(nn.Module):
    """x + convolution(ReLU(convolution(x))), the identity at first."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        _start_at_zero(self.second)

    def forward(self, x: Tensor, change: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """``change`` is an offset and a factor ``(b, channels, 1, 1)`` of what the first convolution gives."""
        hidden = self.first(x)
        if change is not None:
            offset, factor = change
            hidden = torch.addcmul(offset.to(hidden), hidden, factor.to(hidden))
        return x + self.second(F.relu(hidden))


class Level(nn.Sequential):
    """Residual blocks one after the other, all changed alike."""

    def forward(self, x: Tensor, change: tuple[Tensor, Tensor] | None = None) -> Tensor:
        for block in self:
            x = block(x, change)
        return x


class SlabUNet2D(FolderNetwork):
    """A U-Net on the Haar coefficients of slabs, which gives four numbers for every 2 x 2 pixels."""

    def _build(
        self,
        slab: int,
        images: int,
        channels: tuple[int, ...],
        blocks: tuple[int, ...],
        trained: dict[str, Any] | None,
        **numbers: float,
    ) -> None:
        """Make the layers and keep everything in ``config``, ``numbers`` of the kind of network included."""
        if slab < 1 or slab % 2 == 0:
            raise ValueError(f"slab={slab} must be an odd number of slices.")
        if len(channels) > MOST_LEVELS or max((*channels, *blocks, slab, images)) > MOST_NUMBER:
            raise ValueError(f"channels={channels} and blocks={blocks} with slab={slab} are no network of this kind.")
        if len(channels) != len(blocks):
            raise ValueError(f"channels={channels} and blocks={blocks} must name as many levels.")
        self.config = {"slab": slab, "images": images, "channels": list(channels), "blocks": list(blocks)}
        self.config |= {**numbers, "trained": trained}
        self.trained = trained
        self.slab, self.images, self.multiple = slab, images, 2 ** len(channels)
        self.stem = nn.Conv2d(4 * slab * images, channels[0], 3, padding=1)
        self.down = nn.ModuleList(_level(c, n) for c, n in zip(channels, blocks, strict=True))
        pairs = list(itertools.pairwise(channels))
        self.halve = nn.ModuleList(nn.Conv2d(fine, coarse, 2, stride=2) for fine, coarse in pairs)
        self.widen = nn.ModuleList(nn.Conv2d(coarse, fine, 1) for fine, coarse in pairs)
        self.up = nn.ModuleList(_level(c, n) for c, n in zip(channels[:-1], blocks[:-1], strict=True))
        self.head = nn.Conv2d(channels[0], 4, 3, padding=1)
        _start_at_zero(self.head)

    def _quarters(self, images: Tensor, changes: Sequence[tuple[Tensor, Tensor] | None] | None = None) -> Tensor:
        """``(b, 4, h', w')`` of images ``(b, images * slab, h, w)``, h' and w' half of those padded to ``multiple``.

        Edges are replicated. The result has the precision of ``images``, whatever the layers compute in. ``changes``
        are those of the blocks of each level, the finest first.
        """
        changes = changes or [None] * len(self.down)
        # without the remainder of a negative number, which torch.compile does not take for sizes that vary
        pad_h, pad_w = ((n + self.multiple - 1) // self.multiple * self.multiple - n for n in images.shape[-2:])
        padded = F.pad(images, (0, pad_w, 0, pad_h), mode="replicate") if pad_h or pad_w else images
        x = self.stem(haar(padded).contiguous(memory_format=torch.channels_last))
        skips = []
        for level, halve, change in zip(self.down, self.halve, changes, strict=False):
            x = level(x, change)
            skips.append(x)
            x = halve(x)
        x = self.down[-1](x, changes[-1])
        for level, widen, change in zip(reversed(self.up), reversed(self.widen), changes[-2::-1], strict=True):
            x = level(skips.pop() + F.interpolate(widen(x), scale_factor=2.0), change)
        return self.head(x).to(images.dtype)


class MeanUNet2D(SlabUNet2D):
    """The middle slice of the last image plus a learned residual.

    Args:
        slab: slices of each image, an odd number, the wanted one in the middle.
        images: how many images it sees, ``slab`` channels each: the interpolated scan, and of a later stage the mean
            of those before it.
        channels: width of each level; each level halves the grid that the Haar transform has halved.
        blocks: residual blocks of each level, on the way down and (but for the coarsest) on the way up.
        sigma_residual: standard deviation of the residual in prior units, the unit of the network's output.
        trained: what the weights were trained on, kept in their configuration: ``voxel_range_mm``, in-plane; whether
            ``mirrored``. None where that is not known.

    Raises:
        ValueError: for a slab of an even number of slices, or levels that do not match.
    """

    def __init__(
        self,
        slab: int = 5,
        images: int = 1,
        channels: tuple[int, ...] = (96, 160, 256),
        blocks: tuple[int, ...] = (2, 3, 4),
        sigma_residual: float = 0.15,
        trained: dict[str, Any] | None = None,
    ):
        super().__init__()
        self._build(slab, images, channels, blocks, trained, sigma_residual=sigma_residual)
        self.sigma_residual = sigma_residual

    def forward(self, images: Tensor) -> Tensor:
        """The mean ``(b, 1, h, w)`` of images ``(b, images * slab, h, w)`` in prior units."""
        height, width = images.shape[-2:]
        last = images[:, -1 - self.slab // 2].unsqueeze(1)  # the middle of the last slab
        return last + self.sigma_residual * haar_inverse(self._quarters(images))[..., :height, :width]

    def next_stage(self) -> MeanUNet2D:
        """A network that also sees the mean of the stages before it, and at first leaves that as it is."""
        config = {key: self.config[key] for key in ("slab", "channels", "blocks", "sigma_residual", "trained")}
        following, weights = MeanUNet2D(images=2, **config), self.state_dict()
        if self.images == 1:
            weights["stem.weight"] = _spread(weights["stem.weight"], self.slab, (0,), 2)
        following.load_state_dict(weights)
        _start_at_zero(following.head)
        return following

    def guided(self) -> MeanUNet2D:
        """A later stage that also sees a guide, which it at first makes nothing of.

        Its images are the scan, what a guided filter makes of scan and guide, the guide, and the mean.
        """
        return _with_guide(self)


class DeviationUNet2D(SlabUNet2D):
    """How far a mean may be from the truth: the logarithm of the standard deviation of its error, for every pixel.

    Trained by the likelihood of the error under a normal distribution (Nix and Weigend 1994).

    Args:
        slab: slices of each image, an odd number.
        images: how many it sees: the interpolated scan and the mean.
        channels: width of each level.
        blocks: residual blocks of each level.
        sigma_start: what an untrained network says, prior units.
        trained: as of :class:`MeanUNet2D`.

    Raises:
        ValueError: as :class:`MeanUNet2D`.
    """

    def __init__(
        self,
        slab: int = 5,
        images: int = 2,
        channels: tuple[int, ...] = (48, 96, 128),
        blocks: tuple[int, ...] = (1, 1, 2),
        sigma_start: float = 0.05,
        trained: dict[str, Any] | None = None,
    ):
        super().__init__()
        self._build(slab, images, channels, blocks, trained, sigma_start=sigma_start)
        self.sigma_start = sigma_start

    def forward(self, images: Tensor) -> Tensor:
        """Logarithm of the standard deviation ``(b, 1, h, w)``, prior units, of images ``(b, images * slab, h, w)``."""
        height, width = images.shape[-2:]
        return math.log(self.sigma_start) + F.pixel_shuffle(self._quarters(images), 2)[..., :height, :width]

    def guided(self) -> DeviationUNet2D:
        """The deviation of a guided stage: it also sees the guide, as that does, and at first makes nothing of it."""
        return _with_guide(self)


Later = TypeVar("Later", MeanUNet2D, DeviationUNet2D)


def _with_guide(network: Later) -> Later:
    """A copy of a network of scan and mean that sees :data:`GUIDED_IMAGES`, with weights of zero for what is new."""
    following, weights = type(network)(**{**network.config, "images": GUIDED_IMAGES}), network.state_dict()
    weights["stem.weight"] = _spread(weights["stem.weight"], network.slab, (0, 3), GUIDED_IMAGES)
    following.load_state_dict(weights)
    return following


def _spread(stem: Tensor, slab: int, places: tuple[int, ...], images: int) -> Tensor:
    """Weights of a first layer whose images come to other ``places`` among more ``images``, the others at zero."""
    out = stem.new_zeros(len(stem), 4 * slab * images, *stem.shape[2:])
    for band in range(4):  # each Haar band holds all slices of all images
        for image, place in enumerate(places):
            old, new = slab * (band * len(places) + image), slab * (band * images + place)
            out[:, new : new + slab] = stem[:, old : old + slab]
    return out


def _level(channels: int, blocks: int) -> Level:
    return Level(*(ResidualBlock(channels) for _ in range(blocks)))


def _start_at_zero(layer: nn.Conv2d) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
