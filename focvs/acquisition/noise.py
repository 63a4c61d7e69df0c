"""The noise of a scan, from its own slices."""

from __future__ import annotations

import torch
from torch import Tensor


def estimate_noise(scan: Tensor, mask: Tensor) -> float:
    """Noise standard deviation from in-plane second differences inside the head.

    The mask [[1, -2, 1], [-2, 4, -2], [1, -2, 1]] annihilates planes and straight edges along the axes
    (Immerkaer 1996); the lower quartile of its magnitude over 5 x 5 neighbourhoods' members, instead of their
    mean, keeps anatomy from counting as noise.

    Args:
        scan: ``(p, q, m)`` intensities.
        mask: ``(p, q, m)`` boolean, where to look.

    Returns:
        Standard deviation in the units of ``scan``; 0 where nothing can be measured.
    """
    along_p = scan[:-2] - 2 * scan[1:-1] + scan[2:]
    response = along_p[:, :-2] - 2 * along_p[:, 1:-1] + along_p[:, 2:]
    magnitude = response[mask[1:-1, 1:-1]].abs().float()
    if magnitude.numel() < 100:
        return 0.0
    # lower quartile of |N(0, s)| is 0.3186 s; the response to unit white noise has standard deviation 6
    step = max(1, magnitude.numel() // 1_000_000)
    return float(torch.quantile(magnitude[::step], 0.25)) / (0.31864 * 6)
