"""The slices of a scan as the prior works on them: cropped to the head, prior units, noise known."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from focvs.config import RunConfig, parse_auto
from focvs.scan.head import Region, find_region
from focvs.scan.noise import find_noise
from focvs.scan.scan import Scan
from focvs.scan.units import intensity_scale


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices of a scan as the prior works on them.

    Attributes:
        y: ``(p, q, m)`` in prior units, cropped to the head's box.
        mask: ``(p, q, m)`` head.
        region: the crop.
        scale: 99.5th percentile, the intensity that is +1 in prior units.
        noise_sigma: standard deviation of the noise, prior units.
    """

    y: Tensor
    mask: Tensor
    region: Region
    scale: float
    noise_sigma: float

    def largest(self, fraction: float = 0.0) -> Tensor:
        """Indices of the slices with the most head, from the largest to ``fraction`` of its area."""
        area = self.mask.flatten(0, 1).sum(0)
        order = area.argsort(descending=True)
        return order[area[order] > fraction * area.max()]

    def images(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen slices and their masks, ``(k, 1, p, q)``."""
        images, masks = (v[..., chosen].movedim(-1, 0)[:, None].contiguous() for v in (self.y, self.mask))
        return images, masks


def take_slices(scan: Scan, config: RunConfig) -> Slices:
    """Scale, crop and mask a scan, and find its noise."""
    scale = intensity_scale(scan.data)
    region = find_region(scan, scale)
    mask = torch.from_numpy(region.mask)
    y = prior_units(scan, region, scale)
    given_noise = parse_auto("noise", config.noise)
    noise_sigma = find_noise(scan, y, mask) if given_noise is None else given_noise * 2 / scale
    return Slices(y, mask, region, scale, noise_sigma)


def prior_units(scan: Scan, region: Region, scale: float) -> Tensor:
    """``(p, q, m)`` the slices cropped to the head's box, ``scale`` at +1 and zero at -1."""
    return torch.from_numpy(scan.data[region.crop]) * (2 / scale) - 1
