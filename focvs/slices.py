"""The slices of a scan as the prior works on them: passes balanced, head found, noise estimated, prior units."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from focvs.acquisition.interleaving import pass_difference
from focvs.acquisition.noise import background_noise, estimate_noise, remove_rician_bias
from focvs.acquisition.slice_gains import slice_gains
from focvs.acquisition.zero_filling import crop_kspace, resolved_fraction
from focvs.config import RunConfig, parse_auto
from focvs.errors import InputError
from focvs.volume import Scan, bounding_box, head_mask, intensity_scale

log = logging.getLogger(__name__)

AIR_FROM_HEAD = 5  # voxels in all directions, beyond which the background is that of air
BRIGHT = 0.15  # of the white level: head that is compared between slices
PASS_SIGNIFICANCE, PASS_DIFFERENCE = 3.0, 0.01  # standard errors and log ratio from which passes differ
CROP_MARGIN = 6  # voxels kept around the head


@dataclass(frozen=True, eq=False)
class Region:
    """The part of a scan that holds the head: in-plane crop, range of slices, mask ``(p, q, m)`` of the crop."""

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


def balance_passes(scan: Scan, wanted: str) -> Scan:
    """Divide out the gain of the two passes of an interleaved scan, where there clearly is one.

    Args:
        scan: as read.
        wanted: ``auto`` or ``off``.

    Raises:
        InputError: for another word.
    """
    if wanted not in ("auto", "off"):
        raise InputError(f"slice_gains={wanted} is not known; choose auto or off.")
    found = pass_difference(torch.from_numpy(scan.data), bright_head(scan)) if wanted == "auto" else None
    if found is None or found.significance < PASS_SIGNIFICANCE or abs(found.log_ratio) < PASS_DIFFERENCE:
        return scan
    return divide_out(
        scan,
        found.gains(scan.data.shape[-1]),
        f"every second slice is {100 * abs(math.expm1(found.log_ratio)):.1f} % "
        f"{'brighter' if found.log_ratio > 0 else 'darker'} than the others (interleaved passes, "
        f"{found.significance:.1f} standard errors): that was divided out; slice_gains=off leaves it in.",
    )


def balance_slices(scan: Scan, wanted: str) -> Scan:
    """Divide out the gains of passes, then those of single slices where all through the scan they clearly differ.

    Args:
        scan: as read.
        wanted: ``auto`` or ``off``.

    Raises:
        InputError: for another word.
    """
    scan = balance_passes(scan, wanted)
    found = slice_gains(torch.from_numpy(scan.data), bright_head(scan), scan.spacing_mm) if wanted == "auto" else None
    if found is None or not found.clear:
        return scan
    return divide_out(
        scan,
        found.log_gains.exp(),
        f"slices differ by {100 * found.spread:.2g} % in brightness from what the others say, where anatomy would by "
        f"{100 * found.anatomy:.2g} %: that was divided out slice by slice; slice_gains=off leaves it in.",
    )


def divide_out(scan: Scan, factors: Tensor, warning: str) -> Scan:
    """The scan without ``(m,)`` factors its slices carry, which join those it was rid of before."""
    gains = factors.numpy()
    data = (scan.data / gains).astype(np.float32)
    together = gains if scan.gains is None else scan.gains * gains
    return replace(scan, data=data, gains=together, warnings=(*scan.warnings, warning))


def bright_head(scan: Scan) -> Tensor:
    """``(p, q, m)`` boolean, head that is well above the noise."""
    scale = intensity_scale(scan.data)
    return torch.from_numpy(head_mask(scan.data, scale) & (scan.data > BRIGHT * scale))


def unbias(scan: Scan, noise: float) -> Scan:
    """The scan less what Rician noise adds to its magnitudes in the mean.

    Args:
        scan: one with negative values is no magnitude and stays as it is.
        noise: standard deviation in the scan's intensity units, above 0.
    """
    if scan.data.min() < 0:
        return scan
    warning = (
        f"magnitudes with noise of {noise:.3g} are too bright where there is little signal (by {1.25 * noise:.3g} "
        "where there is none): that was taken off, and residuals are those against the rest; rician_bias=off leaves it "
        "in."
    )
    data = remove_rician_bias(torch.from_numpy(scan.data), noise).numpy()
    return replace(scan, data=data, warnings=(*scan.warnings, warning))


def find_region(scan: Scan, scale: float) -> Region:
    """Where the head is: everything outside is interpolated and replaced, not sampled."""
    mask = head_mask(scan.data, scale)
    rows, columns, slices = bounding_box(mask, (CROP_MARGIN, CROP_MARGIN, 1))
    return Region((rows, columns), slices, mask[rows, columns])


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


def find_noise(scan: Scan, y: Tensor, mask: Tensor) -> float:
    """Standard deviation of the noise of slices ``(p, q, m)``, on the matrix that was acquired, prior units.

    Where k-space was filled with zeros pixel noise is smooth, and second differences see little of it. What the air
    around the head says is logged, and used where too little of the head is seen: noise in air is not quite that in
    the head where a scanner unfolds, corrects or masks its images.
    """
    data = torch.from_numpy(scan.data)
    fractions = (resolved_fraction(data, 0), resolved_fraction(data, 1))
    small = crop_kspace(y, fractions)
    rows, columns = (
        (torch.arange(n) * (old / n)).round().long().clamp(max=old - 1)
        for n, old in zip(small.shape, mask.shape[:2], strict=False)
    )
    inside = estimate_noise(small, mask[rows][:, columns])
    around = noise_of_air(scan)
    air = "the air around it does not tell" if around is None else f"{100 * around:.2g} % by the air around it"
    log.info("%s: noise, of the white level: %.2g %% by the slices of the head, %s", scan.path.name, 50 * inside, air)
    return inside or 2 * (around or 0.0)


def noise_of_air(scan: Scan) -> float | None:
    """:func:`focvs.acquisition.noise.background_noise` of a scan, as a fraction of its white level."""
    scale = intensity_scale(scan.data)
    found = background_noise(torch.from_numpy(scan.data), torch.from_numpy(find_air(scan.data, scale)))
    return None if found is None else found / scale


def find_air(data: np.ndarray, scale: float) -> np.ndarray:
    """Where slices ``(p, q, m)`` are well outside the head."""
    return np.asarray(~ndimage.maximum_filter(head_mask(data, scale), 2 * AIR_FROM_HEAD + 1))
