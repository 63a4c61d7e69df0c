"""In-plane resolution of a scan whose k-space was filled up with zeros before it was transformed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOWEST, HIGHEST, STEP = 0.2, 0.88, 0.01  # cut-offs looked for, as parts of the highest frequency
NEAR, FAR = 0.01, 0.06  # the bands compared on both sides of a cut-off lie this far from it
EDGE = 7.0  # power falls this many times across a cut-off; without zero filling it falls less than 5 times
SUDDEN = 3.0  # the fall of log power at an edge is at least this many times that BEFORE it; 5 and more on 12 scans
BEFORE = 0.2  # of the highest frequency; a Gaussian blur, which falls ever faster, has 1.2 to 2.5 there
PLATEAU = 0.8  # cut-offs with this part of the largest fall, in logarithms, are the edge, and its middle is taken
MOST_SLICES = 16


def resolved_fraction(scan: Tensor, axis: int) -> float:
    """Where the power spectrum of the slices ends, as a part of the highest frequency their pixels can hold.

    The part of k-space along ``axis`` that was acquired; the rest was filled with zeros, as scanners do to reach a
    square or a larger matrix. The spectrum of anatomy and noise falls slowly, and that of smoothed slices ever faster;
    at the edge of what was acquired it drops after having fallen slowly.

    Args:
        scan: ``(p, q, m)`` intensities.
        axis: 0 or 1.

    Returns:
        1.0 where no edge is found.
    """
    middle = scan.shape[-1] // 2
    reach = min(MOST_SLICES, scan.shape[-1] // 2) // 2 + 1
    slices = scan[..., max(0, middle - reach) : middle + reach].double().movedim(axis, -1)
    power = torch.fft.rfft(slices, dim=-1).abs().square().flatten(0, -2).mean(0)
    frequency = torch.linspace(0, 1, len(power), dtype=torch.float64)
    first = round(FAR / STEP)  # of the cut-offs looked for: the fall before them is seen without the edge
    cuts = torch.arange(LOWEST - FAR, HIGHEST, STEP, dtype=torch.float64)
    falls = torch.zeros_like(cuts)
    if not float(power[1:].max()) > 0:
        return 1.0
    for i, cut in enumerate(cuts.tolist()):
        below = power[(frequency > cut - FAR) & (frequency < cut - NEAR)]
        above = power[(frequency > cut + NEAR) & (frequency < cut + FAR)]
        if len(below) and len(above):
            falls[i] = (below.median() / above.median().clamp_min(1e-12 * float(power[1:].max()))).log()
    steps = round(BEFORE / STEP)
    before = torch.cat([falls[[0, first]].amin().expand(first + steps), falls[first:-steps]])
    sudden = torch.where((falls > SUDDEN * before) & (torch.arange(len(cuts)) >= first), falls, 0.0)
    if sudden.max() < math.log(EDGE):
        return 1.0
    return float(cuts[sudden > PLATEAU * sudden.max()].median())


def crop_kspace(scan: Tensor, fractions: tuple[float, float]) -> Tensor:
    """The scan on the matrix that was acquired: k-space beyond ``fractions`` along p and q is left out.

    Args:
        scan: ``(p, q, m)``.
        fractions: as :func:`resolved_fraction` finds them.

    Returns:
        ``(p', q', m)`` of the same intensities, whose noise is white where the scanner's was.
    """
    for axis, fraction in enumerate(fractions):
        n = scan.shape[axis]
        kept = round(n * fraction)
        if kept < n:
            spectrum = torch.fft.rfft(scan, dim=axis).narrow(axis, 0, kept // 2 + 1)
            scan = torch.fft.irfft(spectrum, n=kept, dim=axis) * (kept / n)
    return scan


def averaging_factor(pixels: int, fraction: float) -> float:
    """Standard deviation of the mean of neighbouring pixels over that of one, where noise ends at ``fraction``.

    White noise, ``fraction`` 1, gives 1 / sqrt(pixels); zero-filled noise is smooth and averages out less.
    """
    frequency = (torch.arange(4096, dtype=torch.float64) + 0.5) / 4096 * fraction / 2  # cycles per pixel
    response = torch.sin(math.pi * pixels * frequency) / (pixels * torch.sin(math.pi * frequency))
    return float(response.square().mean().sqrt())
