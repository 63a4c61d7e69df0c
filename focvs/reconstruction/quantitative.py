"""Maps of proton density, T1 and T2 on thin voxels, from thick ones and sharp weighted images of the same head.

Partial volume is linear in signal and not in T1, so maps are worked on as the signals of three reference sequences,
which determine them voxel by voxel. Each is restored by itself first; then a voxelwise fit ties the three to the
guides, and what was measured is replaced. What a guide says of one signal reaches the others through their
covariance: detail that is missing in one is missing in all. (After Samadifardheris et al., whose anchor is soft.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence as Many
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from focvs.acquisition.linear_operator import LinearOperator
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.signal.fitting import fit_maps
from focvs.signal.sequences import Sequence, Several, SpinEcho, SpoiledGradientEcho

# proton density, T2 and T1 weighted; none changes sign, so that magnitudes lose nothing
REFERENCE = Several((SpinEcho(5.0, 0.015), SpinEcho(5.0, 0.1), SpoiledGradientEcho(0.018, 0.003, math.radians(20))))
ROUNDS = 1
GAIN_MM = 25.0  # standard deviation of the Gaussian that makes a guide's gain smooth
DETAIL_MM = 2.5  # what is finer than a Gaussian of that standard deviation is detail
AROUND_MM = 6.0  # standard deviation of the Gaussian within which it is compared
LEAST_SHARE = 1e-3  # of the white level of a signal, that a deviation is at least
MOST_CORRELATION = 0.9  # of that in slices, which is taken for that of what is missing
MOST_PROJECTIONS, ENOUGH = 12, 1e-4  # of the last ones, and the residual over the largest signal that ends them
USUAL = torch.tensor([0.8, 1.2, 0.08], dtype=torch.float64)  # where fits begin


@dataclass(frozen=True, eq=False)
class Guide:
    """A sharp weighted image of the same head.

    Attributes:
        image: ``(p, q, n)`` intensities of any unit, on the voxels of the maps.
        sequence: what its intensities show of the maps, up to a smooth gain.
        error: standard deviation of what neither noise nor gain explains, as a share of its white level.
    """

    image: Tensor
    sequence: Sequence
    error: float = 0.03


@dataclass(frozen=True, eq=False)
class Problem:
    """Signals in thick slices, each restored by itself, slice axis last.

    Attributes:
        measured: ``(3, p, q, m)``.
        operator: from thin voxels to them.
        estimate: ``(3, p, q, n)``.
        deviation: ``(3, p, q, n)`` of its error.
        mask: ``(p, q, n)`` the head.
        affine: ``(4, 4)`` of thin voxels in the order of the files.
        axis: that of the files' arrays which the slices are stacked in.
        voxel_mm: sizes of thin voxels.
        warnings: what was odd about the slices, a sentence each.
    """

    measured: Tensor
    operator: ThroughPlaneOperator
    estimate: Tensor
    deviation: Tensor
    mask: Tensor
    affine: np.ndarray
    axis: int
    voxel_mm: tuple[float, float, float]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Sharpened:
    """Maps on thin voxels.

    Attributes:
        maps: ``(p, q, n, 3)`` proton density in the unit of what was given, T1 and T2 in seconds.
        deviation: ``(p, q, n, 3)`` standard deviation of their error.
        signals: ``(3, p, q, n)`` of the reference sequences.
        gains: ``(p, q, n)`` of each guide: its intensity over the signal of the maps.
    """

    maps: Tensor
    deviation: Tensor
    signals: Tensor
    gains: list[Tensor]


def sharpen_maps(
    measured: Tensor,
    operator: LinearOperator,
    estimate: Tensor,
    deviation: Tensor,
    mask: Tensor,
    guides: Many[Guide] = (),
    voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
    anchored: bool = True,
    rounds: int = ROUNDS,
) -> Sharpened:
    """Tie three restored signals to each other, to guides, and to what was measured.

    Args:
        measured: ``(3, p, q, m)`` signals of ``REFERENCE`` in thick slices.
        operator: from ``(..., n)`` thin voxels to ``(..., m)`` slices.
        estimate: ``(3, p, q, n)`` each signal restored by itself.
        deviation: ``(3, p, q, n)`` standard deviation of its error.
        mask: ``(p, q, n)`` true in the head; outside of it proton density is what the signal says, T1 and T2 mean
            nothing.
        guides: sharp weighted images; none leaves the three as they were restored.
        voxel_mm: sizes of thin voxels, for the smoothness of gains.
        anchored: whether what was measured is replaced; without it guides may contradict it.
        rounds: of gains, fit and replacement, where there are guides; each fit is of what was restored: no guide counts
            twice.
    """
    measured, signals = measured.double(), estimate.double()
    if anchored:
        signals = operator.replace(signals, measured)
    white = torch.stack([_white(one[one > 0]) for one in measured])
    unit = float(white[0])
    spread = torch.maximum(deviation.double(), LEAST_SHARE * white[:, None, None, None])
    correlation = detail_correlation(measured, operator, voxel_mm)
    precision = _precision_of(spread[:, mask].T / unit, correlation[mask])
    maps = _inverted(signals[:, mask].T / unit, USUAL)
    covariance = fit_maps(REFERENCE, signals[:, mask].T / unit, maps, precision, iterations=0).covariance
    gains, alone = list[Tensor](), signals[:, mask].T / unit  # what is known without guides, in every round the same
    for _ in range(rounds if guides else 0):
        gains = [_gain_of(guide, maps, mask, operator, voxel_mm) for guide in guides]
        shown = [guide.image.double()[mask] / gain[mask] for guide, gain in zip(guides, gains, strict=True)]
        known = torch.stack([(guide.error * _white(g)) ** -2 for guide, g in zip(guides, shown, strict=True)])
        fit = fit_maps(
            Several((*REFERENCE.sequences, *(guide.sequence for guide in guides))),
            torch.cat([alone, torch.stack(shown, -1)], -1),
            maps,
            _with_guides(precision, known),
        )
        maps, covariance = fit.maps, fit.covariance
        signals = _shown(maps, mask, signals, unit)
        if anchored:
            signals = operator.replace(signals, measured)
            maps = _inverted(signals[:, mask].T / unit, maps)
    if anchored:
        signals, maps = _reconciled(signals, maps, mask, operator, measured, unit)
    whole, error = (torch.zeros(*mask.shape, 3, dtype=torch.float64) for _ in range(2))
    scale = torch.tensor([unit, 1.0, 1.0], dtype=torch.float64)
    whole[mask] = maps * scale
    error[mask] = maps * covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt() * scale
    return Sharpened(whole, error, signals, [gain / unit for gain in gains])


def _reconciled(
    signals: Tensor, maps: Tensor, mask: Tensor, operator: LinearOperator, measured: Tensor, unit: float
) -> tuple[Tensor, Tensor]:
    """Signals that maps have and that reproduce what was measured, by projections in turn.

    The last replacement may ask for signals that no tissue has; where it does, neighbours along the slice axis take
    over.
    """
    signals, whole = signals.clone(), torch.ones(*mask.shape, 3, dtype=torch.float64)
    whole[mask] = maps
    for _ in range(MOST_PROJECTIONS):
        off = operator.residual(_shown(whole[mask], mask, signals, unit), measured).abs().amax((0, -1))
        columns = off / measured.max() > ENOUGH  # the others are done
        if not bool(columns.any()):
            break
        part, inside = signals[:, columns], mask[columns]
        possible = _shown(whole[columns][inside], inside, part, unit)
        part = operator.replace(possible, measured[:, columns])
        found = whole[columns]
        found[inside] = _inverted(part[:, inside].T / unit, found[inside], iterations=12)
        signals[:, columns], whole[columns] = part, found
    return signals, whole[mask]


def _shown(maps: Tensor, mask: Tensor, signals: Tensor, unit: float) -> Tensor:
    """The signals of the maps in the head, and those there are outside of it."""
    shown = signals.clone()
    shown[:, mask] = (REFERENCE(maps) * unit).T
    return shown


def _white(values: Tensor) -> Tensor:
    """Their 99.5th percentile."""
    return torch.quantile(values[:: max(1, len(values) // 10**6)], 0.995)


def detail_correlation(
    measured: Tensor, operator: LinearOperator, voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Tensor:
    """How detail of the three signals goes together in the slices around each voxel: what is missing there does alike.

    Args:
        measured: ``(3, p, q, m)``.
        operator: from thin voxels to slices.
        voxel_mm: sizes of thin voxels.

    Returns:
        ``(p, q, n, 3, 3)`` correlations.
    """
    k = len(measured)
    fine = [0, DETAIL_MM / voxel_mm[0], DETAIL_MM / voxel_mm[1], 0]
    detail = measured - torch.from_numpy(ndimage.gaussian_filter(measured.numpy(), fine, mode="nearest"))
    wide = [AROUND_MM / mm for mm in voxel_mm]

    def around(product: Tensor) -> Tensor:
        return torch.from_numpy(ndimage.gaussian_filter(operator.adjoint(product).numpy(), wide, mode="nearest"))

    pairs = {(i, j): around(detail[i] * detail[j]) for i in range(k) for j in range(i, k)}
    found = torch.empty(*pairs[0, 0].shape, k, k, dtype=measured.dtype)
    for (i, j), together in pairs.items():
        alone = (pairs[i, i] * pairs[j, j]).sqrt()
        value = together / alone.clamp(min=1e-12 * float(alone.max()) or 1.0)
        found[..., i, j] = found[..., j, i] = value if i == j else MOST_CORRELATION * value
    return found


def _precision_of(spread: Tensor, correlation: Tensor) -> Tensor:
    """Inverse of D R D, from deviations D ``(voxels, 3)`` and correlations R ``(voxels, 3, 3)``."""
    return torch.linalg.inv(correlation) / (spread[:, :, None] * spread[:, None, :])


def _with_guides(precision: Tensor, known: Tensor) -> Tensor:
    """The same with further, independent signals, ``(voxels, 3 + guides, 3 + guides)``."""
    k = precision.shape[-1]
    whole = torch.zeros(len(precision), k + len(known), k + len(known), dtype=precision.dtype)
    whole[:, :k, :k] = precision
    whole[:, range(k, k + len(known)), range(k, k + len(known))] = known
    return whole


def _inverted(signals: Tensor, start: Tensor, iterations: int = 40) -> Tensor:
    """Maps whose reference signals are the given ones, where there are such maps."""
    relative = (signals.abs().mean(0).clamp(min=1e-9)) ** -2
    return fit_maps(REFERENCE, signals, start, relative, iterations=iterations).maps


def _gain_of(
    guide: Guide, maps: Tensor, mask: Tensor, operator: LinearOperator, voxel_mm: tuple[float, float, float]
) -> Tensor:
    """The smooth factor between a guide and what its sequence shows of the maps, by local least squares in slices.

    Detail that the maps still lack would make it too small; in slices they lack none.
    """
    shown = torch.zeros(mask.shape, dtype=torch.float64)
    shown[mask] = guide.sequence(maps)
    expected, seen = operator(shown), operator(torch.where(mask, guide.image.double(), 0.0))
    width = [GAIN_MM / mm for mm in voxel_mm]
    both, alone = (
        ndimage.gaussian_filter(operator.adjoint(expected * other).numpy(), width, mode="nearest")
        for other in (seen, expected)
    )
    floor = 1e-6 * float(alone.max()) or 1.0
    return torch.from_numpy(both / alone.clip(min=floor)).clamp(min=1e-9)
