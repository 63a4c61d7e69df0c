"""The slice profile from the scan itself: in-plane detail that is blurred and decimated alike looks the same.

For a candidate width the scan is passed through a slice profile of that width along an in-plane axis, sampled every
slice spacing. Where the width is right the result is blurred alike along that axis and along the slice axis, so that
for isotropic anatomy the two power spectra agree, aliasing included; too narrow a profile leaves more power in-plane,
too wide a one less. How far heads are from isotropic on average is known and corrected for. Matching the in-plane
appearance to the through-plane one is the idea of Han et al. 2021 (ESPRESO); here it is done on spectra, for one
unknown, without training.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import SliceProfile, gaussian_profile

WIDTHS = np.geomspace(0.3, 2.0, 21)  # candidates, in slice spacings
LEAST_RATIO = 1.5  # of slice spacing to pixel size
IN_PLANE_SHARE = 0.75  # of the head's width that windows may span in-plane: profiles reach beyond their ends
NARROWEST_PX = 1.0  # no candidate is narrower than this many in-plane pixels
WINDOW, SHORTEST_WINDOW = 16, 8  # slices of a window whose spectrum is taken
LOWEST = 2  # the first frequencies compared, in cycles per window: lower ones show the shape of the head
GROUPS = 6  # of the jackknife
MOST_ROWS = 96  # neighbouring rows say the same: more are thinned to about this number
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

    Each in-plane axis compares its detail with that across slices; the two count by how surely their ratio is known
    where nothing is blurred, or one alone where the head is too narrow along the other. White noise stays white through
    a profile that hardly overlaps its neighbours, and so adds the same to both spectra.

    Args:
        y: ``(p, q, m)`` slices, any units.
        mask: ``(p, q, m)`` boolean head.
        pixel_mm: in-plane pixel size along p and q.
        spacing_mm: distance of slice centres.
        make: the profile of a FWHM in mm: its shape.
        anisotropy: for p and for q, mean and standard deviation over heads of the log ratio of the spectra where
            nothing is blurred: of :data:`ANISOTROPY`.

    Raises:
        ValueError: if the scan does not tell: too few slices of head, pixels as coarse as the slices, or spectra that
            agree at no width.
    """
    window = window_slices(mask, pixel_mm, spacing_mm)
    widths = WIDTHS[WIDTHS * spacing_mm > NARROWEST_PX * max(pixel_mm)] * spacing_mm
    spectra = torch.stack(
        [
            torch.stack([_spectra(y, mask, axis, pixel_mm[axis], spacing_mm, make(w), window) for axis in (0, 1)])
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


def mean_spectra(
    y: Tensor,
    mask: Tensor,
    pixel_mm: tuple[float, float],
    spacing_mm: float,
    profile: SliceProfile,
    axes: Sequence[int] = (0, 1),
    window: int | None = None,
) -> tuple[np.ndarray, np.ndarray, int]:
    """What a profile makes of the in-plane detail, to be compared with the detail across slices.

    Args:
        y, mask, pixel_mm, spacing_mm: as for :func:`estimate_profile`.
        profile: the profile.
        axes: in-plane axes to average over.
        window: slices of a window; None: as :func:`estimate_profile` chooses.

    Returns:
        ``(k,)`` cycles per mm; ``(2, k)`` power along the in-plane axes seen through the profile and across slices, not
        a number where there are no windows; the number of windows of the rarer kind.
    """
    window = window or window_slices(mask, pixel_mm, spacing_mm)
    shown = torch.stack([_spectra(y, mask, axis, pixel_mm[axis], spacing_mm, profile, window) for axis in axes])
    shown = shown.sum((0, 1))
    power = (shown[:, 1:] / shown[:, :1]).numpy()
    return np.arange(power.shape[1]) / (window * spacing_mm), power, int(shown[:, 0].min())


def detail_ratios(
    y: Tensor, mask: Tensor, pixel_mm: tuple[float, float], spacing_mm: float, profile: SliceProfile
) -> tuple[float, float]:
    """What :data:`ANISOTROPY` is about: log ratio of detail across slices to that along p and along q, both seen
    through the profile the scan was made with. Arguments are those of :func:`estimate_profile`.

    Raises:
        ValueError: if the scan does not tell.
    """
    window = window_slices(mask, pixel_mm, spacing_mm)
    sums = [_spectra(y, mask, axis, pixel_mm[axis], spacing_mm, profile, window).sum(0) for axis in (0, 1)]
    first, second = _log_ratios(torch.stack(sums)[None])[0].tolist()
    return first, second


def window_slices(mask: Tensor, pixel_mm: tuple[float, float], spacing_mm: float) -> int:
    """Slices of a window.

    Raises:
        ValueError: if the scan has too few, or pixels as coarse as slices.
    """
    if spacing_mm < LEAST_RATIO * max(pixel_mm):
        raise ValueError(
            f"slices every {spacing_mm:.3g} mm are hardly thicker than the pixels of {max(pixel_mm):.3g} mm: there is "
            "no finer detail in-plane to compare with."
        )
    covered = int(mask.any(0).any(0).sum())
    width_mm = min(float(mask.any(1 - axis).any(-1).sum()) * pixel_mm[axis] for axis in (0, 1))
    window = min(WINDOW, covered, int(IN_PLANE_SHARE * width_mm / spacing_mm)) // 2 * 2
    if window < SHORTEST_WINDOW:
        raise ValueError(
            f"the head covers {covered} slices every {spacing_mm:.3g} mm and {width_mm:.3g} mm in-plane: too little to "
            "see detail across slices."
        )
    return window


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


def _spectra(
    y: Tensor,
    mask: Tensor,
    axis: int,
    pixel_mm: float,
    spacing_mm: float,
    profile: SliceProfile,
    window: int,
) -> Tensor:
    """Summed power along an in-plane axis seen through a slice profile, and along the slice axis of the same data.

    Returns:
        ``(groups, 2, 1 + frequencies)`` float64: number of windows, then power; groups are parts of the other axis.
    """
    view = view_through(y, mask, axis, pixel_mm, spacing_mm, [profile])
    if view is None or view[0].shape[-1] < window:
        return torch.zeros(GROUPS, 2, 2 + window // 2, dtype=torch.float64)
    seen, inside = view[0][0], view[1]
    groups = []
    for part, where in zip(seen.tensor_split(GROUPS), inside.tensor_split(GROUPS), strict=True):
        groups.append(torch.stack([_power(part, where, window), _power(part.mT, where.mT, window)]))
    return torch.stack(groups)


def view_through(
    y: Tensor, mask: Tensor, axis: int, pixel_mm: float, spacing_mm: float, profiles: Sequence[SliceProfile]
) -> tuple[Tensor, Tensor] | None:
    """An in-plane axis of the scan as slice profiles would show it: blurred, and sampled every slice spacing.

    Args:
        y: ``(p, q, m)`` slices.
        mask: ``(p, q, m)`` boolean head.
        axis: 0 or 1, p or q.
        pixel_mm: pixel size along it.
        spacing_mm: distance of slice centres.
        profiles: the profiles; where the head is judged by the first one.

    Returns:
        ``(profiles, other, m, s)``, rows of the other in-plane axis (thinned to about :data:`MOST_ROWS`), slices, and
        samples along the axis; and ``(other, m, s)``, whether the first profile sees nothing but head. None where the
        widest profile is wider than the scan.
    """
    pixels, reach = y.shape[axis], max(profile.half_support_mm for profile in profiles)
    slices = int((pixels * pixel_mm - 2 * reach) / spacing_mm)
    if slices < 1:
        return None
    grid = make_grid(slices, spacing_mm, pixel_mm, reach, keep_extent=False)
    matrix = torch.stack([ThroughPlaneOperator(profile, grid, "margin").matrix for profile in profiles]).to(y)
    first = (pixels - matrix.shape[-1]) // 2
    if first < 0:
        matrix, first = matrix[..., -first : -first + pixels], 0
    here = slice(first, first + matrix.shape[-1])
    rows = slice(None, None, max(1, y.shape[1 - axis] // MOST_ROWS))
    seen = torch.einsum("oma,psa->poms", y.movedim(axis, -1)[rows, ..., here], matrix)
    return seen, (mask.movedim(axis, -1)[rows, ..., here].to(y) @ matrix[0].T) > 0.99


def _power(image: Tensor, inside: Tensor, window: int) -> Tensor:
    """Number and summed power of the Hann windows along the last axis that lie inside."""
    nothing = torch.zeros(2 + window // 2, dtype=torch.float64)
    if image.shape[-1] < window:
        return nothing
    step = max(1, window // 4)
    runs = image.unfold(-1, window, step)[inside.unfold(-1, window, step).all(-1)]
    if not len(runs):
        return nothing
    taper = torch.hann_window(window + 2, periodic=False, dtype=runs.dtype)[1:-1]
    power = torch.fft.rfft((runs - runs.mean(-1, keepdim=True)) * taper).abs().square().double()
    total = power.sum(0) / taper.square().sum()
    return torch.cat([total.new_full((1,), len(runs)), total])
