"""The slice profile from the scan itself: in-plane detail, blurred and decimated like slices, has their spectrum.

For each candidate width the scan is blurred along an in-plane axis by a slice profile of that width and sampled every
slice spacing. At the right width the result is as blurred along that axis as the scan is along the slice axis. For
isotropic anatomy the two power spectra then agree, aliasing included. Too narrow a profile leaves more power in-plane,
too wide a profile less. Heads are not quite isotropic; their mean anisotropy is known and corrected for. Matching the
in-plane appearance to the through-plane one is the idea of Han et al. 2021 (ESPRESO). Here it is done on spectra, for
one unknown, without training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.profile import SliceProfile, gaussian_profile
from focvs.acquisition.spectra import (
    GROUPS,
    mean_spectra,
    pooled_spectra,
    window_slices,
)

WIDTHS = np.geomspace(0.3, 2.0, 21)  # candidates, in slice spacings
NARROWEST_PX = 1.0  # no candidate is narrower than this many in-plane pixels
LOWEST = 2  # the first frequencies compared, in cycles per window: lower ones show the shape of the head
FEWEST_WINDOWS = 100  # of an axis, seen through a profile as wide as the spacing
NO_WIDTH = 0.5  # half the difference of the two axes' log widths where one gives none
# Heads are not isotropic: at equal resolution there is more detail from left to right and from foot to head than from
# back to front. Mean and standard deviation over heads of the weighted log ratio of detail along the first axis, that
# of the slices, to detail along the second; benchmark_profile.py prints them. The two of one slice axis hardly go
# together (r = -0.1), and count as independent.
ANISOTROPY = {
    ("inferior-superior", "left-right"): (-0.09, 0.18),
    ("inferior-superior", "posterior-anterior"): (0.23, 0.26),
    ("posterior-anterior", "left-right"): (-0.31, 0.31),
    ("posterior-anterior", "inferior-superior"): (-0.26, 0.28),
    ("left-right", "posterior-anterior"): (0.30, 0.30),
    ("left-right", "inferior-superior"): (0.04, 0.14),
}
NO_ANISOTROPY = (0.0, 0.2)


@dataclass(frozen=True, eq=False)
class ProfileEstimate:
    """A slice profile found in a scan.

    Attributes:
        profile: of the shape asked for.
        low_mm: lower end of the 95 % interval of the FWHM.
        high_mm: upper end.
        frequency: ``(k,)`` cycles per mm of the spectra.
        in_plane: ``(k,)`` power along the in-plane axes blurred and decimated by the profile.
        through_plane: ``(k,)`` power along the slice axis.
        windows: windows the spectra were averaged over.
    """

    profile: SliceProfile
    low_mm: float
    high_mm: float
    frequency: np.ndarray
    in_plane: np.ndarray
    through_plane: np.ndarray
    windows: int


def estimate_profile(
    y: Tensor,
    mask: Tensor,
    pixel_mm: tuple[float, float],
    spacing_mm: float,
    make: Callable[[float], SliceProfile] = gaussian_profile,
    anisotropy: tuple[tuple[float, float], tuple[float, float]] = (NO_ANISOTROPY, NO_ANISOTROPY),
) -> ProfileEstimate:
    """Width of the slice profile, from the spectra of the scan.

    The detail along each in-plane axis is compared with the detail across slices. The two comparisons are weighted by
    how well the ratio of detail is known for heads without blur; where the head is too narrow along one axis, the other
    counts alone. White noise does no harm: it stays white through a profile that hardly overlaps its neighbours, and so
    adds the same to both spectra.

    Args:
        y: ``(p, q, m)`` slices, any units.
        mask: ``(p, q, m)`` boolean head.
        pixel_mm: in-plane pixel size along p and q.
        spacing_mm: distance of slice centres.
        make: the profile of a FWHM in mm: its shape.
        anisotropy: for p and for q, mean and standard deviation over heads of the log ratio of the spectra without
            blur, as in :data:`ANISOTROPY`.

    Raises:
        ValueError: if the scan does not tell: too few slices of head, pixels as coarse as the slices, or spectra that
            agree at no width.
    """
    window = window_slices(mask, pixel_mm, spacing_mm)
    widths = WIDTHS[WIDTHS * spacing_mm > NARROWEST_PX * max(pixel_mm)] * spacing_mm
    spectra = torch.stack(
        [
            torch.stack([pooled_spectra(y, mask, axis, pixel_mm[axis], spacing_mm, make(w), window) for axis in (0, 1)])
            for w in widths
        ]
    )  # (widths, 2 axes, groups, along or across, 1 + frequencies), counts first
    counts = spectra[..., 0].amin(-1)
    likely = int(np.argmin(np.abs(widths - spacing_mm)))
    used = (counts[likely].sum(1) >= FEWEST_WINDOWS).numpy()
    # a wide profile may leave an axis, or all its groups but one, no window
    within = ((counts.sum(2, keepdim=True) - counts).amin(2)[:, used] > 0).all(1)
    if not used.any() or not within.any():
        raise ValueError("too little of the head spans enough slices to compare its detail in-plane and across slices.")
    spectra, log_widths = spectra[within], np.log(widths[within.numpy()])
    expected, doubt = np.array(anisotropy).T
    precision = np.where(used, doubt**-2, 0.0)

    def excess_of(some: Tensor) -> np.ndarray:
        return np.where(used, _log_ratios(some) - expected, 0.0)

    shares, excess = precision / precision.sum(), excess_of(spectra.sum(2))
    whole, slope = _crossing(excess @ shares, log_widths)
    others = [[group for group in range(GROUPS) if group != left] for left in range(GROUPS)]
    parts = np.array([_crossing(excess_of(spectra[:, :, kept].sum(2)) @ shares, log_widths)[0] for kept in others])
    first, second = (_crossing(alone, log_widths)[0] for alone in excess.T)
    if math.isnan(whole) or np.isnan(parts).any():
        raise ValueError(
            f"in-plane and through-plane spectra agree at no width between {widths[0]:.3g} and "
            f"{math.exp(log_widths[-1]):.3g} mm."
        )
    jackknife = math.sqrt((GROUPS - 1) * parts.var())
    apart = NO_WIDTH if math.isnan(first + second) else abs(first - second) / 2
    reach = 1.96 * math.sqrt(jackknife**2 + apart**2 / 2 + 1 / (precision.sum() * slope**2))
    fwhm_mm = math.exp(whole)
    profile = make(fwhm_mm)
    frequency, (in_plane, through_plane), count = mean_spectra(
        y, mask, pixel_mm, spacing_mm, profile, [axis for axis in (0, 1) if used[axis]]
    )
    low_mm, high_mm = fwhm_mm * math.exp(-reach), fwhm_mm * math.exp(reach)
    return ProfileEstimate(profile, low_mm, high_mm, frequency, in_plane, through_plane, count)


def detail_ratios(
    y: Tensor, mask: Tensor, pixel_mm: tuple[float, float], spacing_mm: float, profile: SliceProfile
) -> tuple[float, float]:
    """What :data:`ANISOTROPY` is about: log ratio of detail across slices to that along p and along q, both seen
    through the profile the scan was made with. Arguments are those of :func:`estimate_profile`.

    Raises:
        ValueError: if the scan does not tell.
    """
    window = window_slices(mask, pixel_mm, spacing_mm)
    sums = [pooled_spectra(y, mask, axis, pixel_mm[axis], spacing_mm, profile, window).sum(0) for axis in (0, 1)]
    first, second = _log_ratios(torch.stack(sums)[None])[0].tolist()
    return first, second


def _log_ratios(sums: Tensor) -> np.ndarray:
    """Mean log ratio of the spectra across slices and in-plane, ``(widths, 2)``.

    Frequencies f weigh f^2, as the width acts: the logarithm of a Gaussian's response is -(pi f w)^2 / (4 ln 2).

    Args:
        sums: ``(widths, 2 axes, 2, 1 + frequencies)``, number of windows and their summed power, in-plane and across
            slices.
    """
    power = (sums[..., 1 + LOWEST :] / sums[..., :1]).clamp_min(1e-12).log()
    weights = torch.arange(LOWEST, LOWEST + power.shape[-1], dtype=power.dtype) ** 2
    return ((power[:, :, 1] - power[:, :, 0]) @ (weights / weights.sum())).numpy()


def _crossing(excess: np.ndarray, log_widths: np.ndarray) -> tuple[float, float]:
    """Log width, of ascending ``(widths,)`` ones, at which the excess of detail across slices rises through zero, and
    its slope there; NaN where it does not.
    """
    above = np.flatnonzero((excess[:-1] <= 0) & (excess[1:] > 0))
    if len(above) == 0:
        return math.nan, math.nan
    i = int(above[0])
    step = log_widths[i + 1] - log_widths[i]
    share = -excess[i] / (excess[i + 1] - excess[i])
    near = slice(max(0, i - 1), i + 3)
    return float(log_widths[i] + share * step), float(np.polyfit(log_widths[near], excess[near], 1)[0])
