"""What a guide has between the slices of a scan, as far as the scan follows it: a local linear model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from scipy import ndimage
from torch import Tensor

WINDOW = 9  # edge, in voxels, of the neighbourhood in which a scan is a linear function of its guide
AIR = -1.0  # prior units: what a network is told where there is no guide
LEAST_CONTRAST = 0.04  # of a guide, prior units, below which a neighbourhood of it counts as flat


def guided_detail(scan: Tensor, guide: Tensor, seen: Tensor, window: Sequence[int] = (WINDOW,) * 3) -> Tensor:
    """``(p, q, n)`` a (g - s): what slices lose of a guide, in the contrast of the scan.

    Near every voxel the interpolated scan is taken for a linear function of what slices show of the guide, a s + b, by
    least squares over a window; the slopes a of all windows that hold a voxel are averaged (He et al. 2013, IEEE TPAMI
    35:1397, equations 5, 6 and 8). Slices of the result are nearly zero, as are those of g - s.

    Args:
        scan: ``(p, q, n)`` x, interpolated, prior units.
        guide: ``(p, q, n)`` g on the same voxels, prior units.
        seen: ``(p, q, n)`` s, the guide degraded and interpolated as the scan is.
        window: edges of the window in voxels.
    """

    def smooth(volume: Tensor) -> Tensor:
        return torch.from_numpy(ndimage.uniform_filter(volume.cpu().numpy(), tuple(window), mode="nearest")).to(scan)

    middle = smooth(seen)
    together = smooth(seen * scan) - middle * smooth(scan)
    slope = smooth(together / (smooth(seen.square()) - middle.square() + LEAST_CONTRAST**2))
    return slope * (guide - seen)
