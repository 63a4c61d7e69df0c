"""The noise of a scan, from its own slices."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 7  # pixels of the neighbourhoods whose noise is compared
QUIETEST = 0.1  # the share of neighbourhoods taken to be free of anatomy
# the QUIETEST quantile of a neighbourhood's root mean square for unit white noise, over its expectation of 6
_QUANTILE_OF_WHITE = 0.7659


def estimate_noise(scan: Tensor, mask: Tensor) -> float:
    """Noise standard deviation from in-plane second differences in the quietest neighbourhoods of the head.

    The mask [[1, -2, 1], [-2, 4, -2], [1, -2, 1]] annihilates planes and straight edges along the axes and
    answers white noise with 6 sigma (Immerkaer 1996). Its root mean square is taken over 7 x 7 neighbourhoods,
    and the lowest tenth counts, corrected for being the lowest, so that anatomy is not taken for noise.

    Args:
        scan: ``(p, q, m)`` intensities.
        mask: ``(p, q, m)`` boolean, where to look.

    Returns:
        Standard deviation in the units of ``scan``; 0 where fewer than 100 neighbourhoods lie in the mask.
    """
    if min(scan.shape[:2]) < WINDOW + 2:
        return 0.0
    along_p = scan[:-2] - 2 * scan[1:-1] + scan[2:]
    response = (along_p[:, :-2] - 2 * along_p[:, 1:-1] + along_p[:, 2:]).movedim(-1, 0)[:, None]
    mean_square = F.avg_pool2d(response.float().square(), WINDOW, stride=2)
    inside = F.avg_pool2d(mask[1:-1, 1:-1].movedim(-1, 0)[:, None].float(), WINDOW, stride=2) > 0.999
    local = mean_square[inside].sqrt()
    if local.numel() < 100:
        return 0.0
    step = max(1, local.numel() // 1_000_000)
    return float(torch.quantile(local[::step], QUIETEST)) / (6 * _QUANTILE_OF_WHITE)
