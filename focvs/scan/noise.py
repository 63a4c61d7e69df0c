"""The noise of a scan, from its own slices: inside the head, and in the air around it where that was kept."""

from __future__ import annotations

import logging
import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from focvs.scan.scan import Scan
from focvs.scan.units import noise_fraction
from focvs.scan.zero_filling import crop_kspace, resolved_fraction

log = logging.getLogger(__name__)
AIR_FROM_HEAD = 5  # voxels in all directions, beyond which the background is that of air
WINDOW = 7  # pixels of the neighbourhoods whose noise is compared
QUIETEST = 0.1  # the share of neighbourhoods taken to be free of anatomy
# the QUIETEST quantile of a neighbourhood's root mean square for unit white noise, over its expectation of 6
_QUANTILE_OF_WHITE = 0.7659
FEWEST_WINDOWS = 100
EMPTY = 0.02  # more exact zeros than this in a neighbourhood, and its background was not kept
# squared mean over mean square: pi / 4 for a Rayleigh distribution, 0 for signed noise about zero
RAYLEIGH = (0.68, 0.84)
SIGNED = 0.1


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
    log.info(
        "%s: noise, of the white level: %.2g %% by the slices of the head, %s",
        scan.path.name,
        100 * noise_fraction(inside),
        air,
    )
    return inside or scan.units.noise_to_prior((around or 0.0) * scan.units.white)


def noise_of_air(scan: Scan) -> float | None:
    """:func:`focvs.scan.noise.background_noise` of a scan, as a fraction of its white level."""
    found = background_noise(torch.from_numpy(scan.data), torch.from_numpy(find_air(scan.head)))
    return None if found is None else found / scan.units.white


def find_air(head: np.ndarray) -> np.ndarray:
    """Where slices ``(p, q, m)`` are well outside the head."""
    return np.asarray(~ndimage.maximum_filter(head, 2 * AIR_FROM_HEAD + 1))


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
    if local.numel() < FEWEST_WINDOWS:
        return 0.0
    step = max(1, local.numel() // 1_000_000)
    return float(torch.quantile(local[::step], QUIETEST)) / (6 * _QUANTILE_OF_WHITE)


def background_noise(scan: Tensor, air: Tensor) -> float | None:
    """Noise standard deviation of the complex signal from the air around the head.

    The magnitude of noise alone has a Rayleigh distribution, whose mean square is 2 sigma^2 and whose squared mean is
    pi/4 of that (Gudbjartsson and Patz 1995, equations 3 and 4); signed data, as in simulations, have the mean square
    sigma^2. The median over 7 x 7 neighbourhoods is taken. Air that was set to zero, or that has neither distribution
    (an offset, ghosts, several coils added up), says nothing.

    Args:
        scan: ``(p, q, m)`` intensities.
        air: ``(p, q, m)`` boolean, well outside the head.

    Returns:
        Standard deviation in the units of ``scan``, or None where the background does not tell.
    """
    if min(scan.shape[:2]) < WINDOW:
        return None

    def mean(values: Tensor) -> Tensor:
        return F.avg_pool2d(values.movedim(-1, 0)[:, None].float(), WINDOW)

    kept = (mean(air) > 0.999) & (mean(scan == 0) <= EMPTY)
    if int(kept.sum()) < FEWEST_WINDOWS:
        return None
    mean_square = mean(scan.square())[kept]
    shape = float((mean(scan)[kept].square() / mean_square).median())
    if RAYLEIGH[0] <= shape <= RAYLEIGH[1]:
        return math.sqrt(float(mean_square.median()) / 2)
    return math.sqrt(float(mean_square.median())) if shape < SIGNED else None
