"""Where the head is in a volume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage


def head_mask(volume: np.ndarray, white: float) -> np.ndarray:
    """Largest connected region above a tenth of the ``white`` level, closed and filled in slices of the last axis."""
    smooth = ndimage.gaussian_filter(volume, (1, 1, 0))
    labels, count = ndimage.label(smooth > 0.1 * white)
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
