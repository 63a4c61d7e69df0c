"""Intensities of a scan and units of a prior."""

from __future__ import annotations

import numpy as np

from focvs.errors import InputError


def intensity_scale(volume: np.ndarray) -> float:
    """The intensity that becomes +1 in prior units: the 99.5th percentile of voxels above a tenth of it.

    Raises:
        InputError: if no voxel is above zero.
    """
    rough = float(np.percentile(volume, 99.5))
    inside = volume[volume > 0.1 * rough]
    if rough <= 0 or inside.size == 0:
        raise InputError("the volume has no positive intensities; give a magnitude image.")
    return float(np.percentile(inside, 99.5))
