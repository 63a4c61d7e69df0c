"""The noise of a scan, from its own slices: inside the head, and in the air around it where that was kept."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

WINDOW = 7  # pixels of the neighbourhoods whose noise is compared
QUIETEST = 0.1  # the share of neighbourhoods taken to be free of anatomy
# the QUIETEST quantile of a neighbourhood's root mean square for unit white noise, over its expectation of 6
_QUANTILE_OF_WHITE = 0.7659
FEWEST_WINDOWS = 100
EMPTY = 0.02  # more exact zeros than this in a neighbourhood, and its background was not kept
# squared mean over mean square: pi / 4 for a Rayleigh distribution, 0 for signed noise about zero
RAYLEIGH = (0.68, 0.84)
SIGNED = 0.1
BIAS_WINDOW = 3  # pixels of the neighbourhoods a local signal is taken from


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


def rician_bias(signal: Tensor, sigma: float) -> Tensor:
    """What noise adds to a magnitude in the mean: E[M] - A (of the density of Gudbjartsson and Patz 1995, equation 1).

    sigma sqrt(pi/2) for no signal, about sigma^2 / (2 A) for much.

    Args:
        signal: A, at least 0.
        sigma: standard deviation of the noise of either channel, above 0.
    """
    ratio = signal.square() / (2 * sigma**2)
    bessel = (1 + ratio) * torch.special.i0e(ratio / 2) + ratio * torch.special.i1e(ratio / 2)
    return sigma * math.sqrt(math.pi / 2) * bessel - signal


def remove_rician_bias(scan: Tensor, sigma: float) -> Tensor:
    """Magnitudes less their bias: their mean is the signal, in air to a quarter of sigma, and their noise stays.

    The signal is found from the mean square of 3 x 3 neighbourhoods in the slice, which is A^2 + 2 sigma^2, not from
    single pixels, whose noise would come back as a bias. Pixels of exactly zero, a background set so, stay zero and
    count for none.

    Args:
        scan: ``(p, q, m)`` magnitudes.
        sigma: standard deviation of the noise, above 0.
    """

    def total(values: Tensor) -> Tensor:
        return F.avg_pool2d(values.movedim(-1, 0)[:, None], BIAS_WINDOW, 1, BIAS_WINDOW // 2)[:, 0].movedim(0, -1)

    kept = scan != 0
    mean_square = total(scan.square()) / total(kept.to(scan)).clamp_min(1e-6)
    signal = (mean_square - 2 * sigma**2).clamp_min(0).sqrt()
    return torch.where(kept, scan - rician_bias(signal, sigma), scan)
