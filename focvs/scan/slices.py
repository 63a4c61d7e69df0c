"""The slices of a scan as the prior works on them: cropped to the head, in prior units, their noise known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from focvs.scan.head import bounding_box
from focvs.scan.noise import find_noise
from focvs.scan.scan import Scan
from focvs.scan.units import IntensityUnits

CROP_MARGIN = 6  # voxels kept around the head


@dataclass(frozen=True, eq=False)
class Region:
    """The part of a scan that holds the head.

    Attributes:
        crop: pixels along p and q.
        slices: range of slices.
        mask: ``(p, q, m)`` head in the crop, all slices.
    """

    crop: tuple[slice, slice]
    slices: slice
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices of a scan as the prior works on them.

    Attributes:
        y: ``(p, q, m)`` in prior units, cropped to the head's box.
        mask: ``(p, q, m)`` head.
        region: the crop.
        units: between the scan's intensities and prior units.
        noise_prior: standard deviation of the noise, prior units.
        missing: slices that were not measured.
    """

    y: Tensor
    mask: Tensor
    region: Region
    units: IntensityUnits
    noise_prior: float
    missing: tuple[int, ...] = ()

    @property
    def noise_intensity(self) -> float:
        """Standard deviation of the noise in the scan's intensities."""
        return self.units.noise_from_prior(self.noise_prior)

    def largest(self, fraction: float = 0.0) -> Tensor:
        """Indices of the slices with the most head, from the largest to ``fraction`` of its area."""
        area = self.mask.flatten(0, 1).sum(0)
        area[list(self.missing)] = 0
        order = area.argsort(descending=True)
        return order[area[order] > fraction * area.max()]

    def images(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen slices and their masks, ``(k, 1, p, q)``."""
        images, masks = (v[..., chosen].movedim(-1, 0)[:, None].contiguous() for v in (self.y, self.mask))
        return images, masks


def find_region(scan: Scan) -> Region:
    """Where the head is: everything outside is interpolated and replaced, not sampled."""
    rows, columns, slices = bounding_box(scan.head, (CROP_MARGIN, CROP_MARGIN, 1))
    return Region((rows, columns), slices, scan.head[rows, columns])


def take_slices(scan: Scan, noise_intensity: float | None = None) -> Slices:
    """Crop a scan to its head, bring it to prior units, and find its noise.

    Args:
        scan: the scan.
        noise_intensity: standard deviation of its noise, in its intensities; None finds it.
    """
    region, units = find_region(scan), scan.units
    y, mask = units.to_prior(torch.from_numpy(scan.data[region.crop])), torch.from_numpy(region.mask)
    noise = find_noise(scan, y, mask) if noise_intensity is None else units.noise_to_prior(noise_intensity)
    return Slices(y, mask, region, units, noise, scan.missing)
