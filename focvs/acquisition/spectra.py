"""Power spectra of slices along and across them, in windows of the head."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import SliceProfile

LEAST_RATIO = 1.5  # of slice spacing to pixel size
IN_PLANE_SHARE = 0.75  # of the head's width that windows may span in-plane: profiles reach beyond their ends
WINDOW, SHORTEST_WINDOW = 16, 8  # slices of a window whose spectrum is taken
GROUPS = 6  # of the jackknife
MOST_ROWS = 96  # neighbouring rows say the same: more are thinned to about this number


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
    shown = torch.stack([pooled_spectra(y, mask, axis, pixel_mm[axis], spacing_mm, profile, window) for axis in axes])
    shown = shown.sum((0, 1))
    power = (shown[:, 1:] / shown[:, :1]).numpy()
    return np.arange(power.shape[1]) / (window * spacing_mm), power, int(shown[:, 0].min())


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


def pooled_spectra(
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
