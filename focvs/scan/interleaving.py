"""Odd slices of an interleaved scan that are brighter than even ones, from the slices themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

FEWEST_PIXELS = 500  # of head that three neighbouring slices share
FEWEST_SLICES = 8
NORMAL_MAD = 1.4826  # standard deviation over median absolute deviation of a normal distribution
MEDIAN_ERROR = 1.2533  # standard error of a median over that of a mean
# neighbouring comparisons, fourth differences of alternating sign, share slices: those of independent slices correlate
# by 56/70 at one step, then 28/70, 8/70 and 1/70
SHARED_SLICES = (1 + 2 * (56 + 28 + 8 + 1) / 70) ** 0.5


@dataclass(frozen=True)
class OddEvenDifference:
    """How much brighter every second slice is.

    Attributes:
        log_ratio: natural logarithm of the intensity of slices 1, 3, 5 ... over slices 0, 2, 4 ....
        error: its standard error.
    """

    log_ratio: float
    error: float

    def gains(self, slices: int) -> Tensor:
        """``(slices,)`` factors the slices carry, of geometric mean 1 for an even number of them."""
        signs = 1 - 2 * (torch.arange(slices) % 2 == 0).double()
        return torch.exp(signs * self.log_ratio / 2)

    @property
    def significance(self) -> float:
        """The ratio's size in standard errors."""
        return abs(self.log_ratio) / self.error if self.error > 0 else math.inf * bool(self.log_ratio)


def odd_even_difference(scan: Tensor, mask: Tensor) -> OddEvenDifference | None:
    """Brightness of the odd slices over the even ones.

    Each slice is compared with the mean of its two neighbours: the difference of their logarithms, median over the head
    all three share. This difference is then compared with those of its neighbours. Anatomy changes the result slowly or
    at random from slice to slice; another receive gain, spin history or cross-talk of every second slice changes it by
    the same factor with alternating sign.

    Args:
        scan: ``(p, q, m)`` intensities.
        mask: ``(p, q, m)`` boolean, head that is well above the noise.

    Returns:
        The difference, or None where fewer than 8 slices can be compared, each with two on both sides.
    """
    logs = scan.clamp_min(1e-6 * float(scan.max())).log()
    above = torch.full((scan.shape[-1],), math.nan, dtype=torch.float64)
    for i in range(1, scan.shape[-1] - 1):
        shared = mask[..., i - 1 : i + 2].all(-1)
        if int(shared.sum()) >= FEWEST_PIXELS:
            beside = (logs[..., i - 1] + logs[..., i + 1]) / 2
            above[i] = (logs[..., i] - beside)[shared].median()
    values = (above[1:-1] - (above[:-2] + above[2:]) / 2) / 2
    values[1::2] *= -1  # the first is of slice 1, an odd one
    values = values[~values.isnan()]
    if len(values) < FEWEST_SLICES:
        return None
    middle = values.median()
    spread = NORMAL_MAD * (values - middle).abs().median()
    return OddEvenDifference(float(middle), float(SHARED_SLICES * MEDIAN_ERROR * spread / len(values) ** 0.5))
