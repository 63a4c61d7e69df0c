"""Where the head is in a scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from focvs.scan.scan import Scan

CROP_MARGIN = 6  # voxels kept around the head


def head_mask(volume: np.ndarray, scale: float) -> np.ndarray:
    """Largest connected region above a tenth of ``scale``, closed and filled in every slice of the last axis."""
    smooth = ndimage.gaussian_filter(volume, (1, 1, 0))
    labels, count = ndimage.label(smooth > 0.1 * scale)
    if count == 0:
        return np.ones(volume.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    mask = labels == sizes.argmax()
    disc = ndimage.generate_binary_structure(2, 1)[:, :, None]
    mask = ndimage.binary_dilation(mask, disc, iterations=2)
    for k in range(mask.shape[-1]):
        mask[..., k] = ndimage.binary_fill_holes(mask[..., k])
    return ndimage.binary_erosion(mask, disc, iterations=2, border_value=1)


def bounding_box(mask: np.ndarray, margin: int | Sequence[int]) -> tuple[slice, ...]:
    """The smallest box around what is true, ``margin`` voxels wider on every side (or each axis its own), cut to fit.

    Raises:
        IndexError: if nothing is.
    """
    margins = [margin] * mask.ndim if isinstance(margin, int) else margin
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    sides = zip(box, margins, mask.shape, strict=True)
    return tuple(slice(max(side.start - m, 0), min(side.stop + m, n)) for side, m, n in sides)


@dataclass(frozen=True, eq=False)
class Region:
    """The part of a scan that holds the head: in-plane crop, range of slices, mask ``(p, q, m)`` of the crop."""

    crop: tuple[slice, slice]
    slices: slice
    mask: np.ndarray


def find_region(scan: Scan, scale: float) -> Region:
    """Where the head is: everything outside is interpolated and replaced, not sampled."""
    mask = head_mask(scan.data, scale)
    rows, columns, slices = bounding_box(mask, (CROP_MARGIN, CROP_MARGIN, 1))
    return Region((rows, columns), slices, mask[rows, columns])
