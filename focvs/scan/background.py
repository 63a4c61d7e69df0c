"""The level of the background of a scan, where that is not zero: of CT, standardised or shifted images."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from focvs.errors import InputError
from focvs.scan.scan import Scan

BELOW, ABOVE = 0.02, 0.15  # of the contrast, by which a background must lie off zero to be a level of its own
DARK = 0.2  # of the contrast: tissue so far below a background of zero is standardised within a mask


def without_background(scan: Scan) -> Scan:
    """The scan less the level of its background, which is recorded and put back where the result is written.

    The level is the median of the outermost pixels of all slices. Below zero it is always one; above, only where no
    voxel of the scan comes near zero: tissue at the edge of an image, and noise, do not make one.

    Raises:
        InputError: for tissue far below a background of zero, as images have that were standardised within a mask.
    """
    data = scan.data
    edge = np.concatenate([data[[0, -1]].reshape(-1), data[:, [0, -1]].reshape(-1)])
    level = float(np.median(edge))
    low, top = (float(v) for v in np.percentile(data, (0.5, 99.5)))
    contrast = top - level
    if low < -DARK * max(abs(top), 1e-300) and level > low + DARK * (top - low):
        raise InputError(
            f"{scan.path} has tissue far below its background (down to {low:.3g}, the background being {level:.3g}), "
            "as images have that were standardised within a mask; give the image before that."
        )
    if contrast <= 0:
        return scan
    if level < -BELOW * contrast or (level > ABOVE * contrast and float(data.min()) > level / 2):
        warning = (
            f"its background lies at {level:.4g}, not at zero: it was restored less that level, which was put back; "
            "MRI magnitudes have none (is it CT, or was it standardised?)."
        )
        return replace(scan, data=data - np.float32(level), background=level, warnings=(*scan.warnings, warning))
    return scan
