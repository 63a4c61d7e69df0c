"""Slices that are brighter or darker than the others say, all through a scan, from the slices themselves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.scan.interleaving import FEWEST_PIXELS, FEWEST_SLICES, NORMAL_MAD

VOXELS = 4  # of the volume a slice is predicted from, in one spacing of the slices
SMOOTHNESS = 1.0  # of that volume: penalty of its second differences against the misfit of the slices
# what anatomy alone does to the brightness of a slice against its neighbours, per mm between slices: 1.5 times the
# median of 13 training heads with slices every 3 to 8 mm, more than 9 in 10 of them do (scripts/benchmark_gains.py)
ANATOMY_PER_MM = 0.0025
CLEAR = 2.5  # times what anatomy does: below that gains are left alone; those heads reach 1.5
ENDS = 2  # slices at both ends of the head, where anatomy changes most
OUTLIER = 4.0  # times the spread: a slice that differs by more is taken to differ by that much


@dataclass(frozen=True, eq=False)
class SliceGains:
    """Brightness of slices against what the others say.

    Attributes:
        log_gains: ``(slices,)`` natural logarithm of the factors the slices carry, as far as neighbours can tell.
        spread: robust standard deviation of the log ratios of slices to their predictions; one or two slices that
            differ leave it unchanged, half of them do not.
        anatomy: the value that anatomy alone would give it.
    """

    log_gains: Tensor
    spread: float
    anatomy: float

    @property
    def clear(self) -> bool:
        """Whether the spread is more than anatomy makes it."""
        return self.spread > CLEAR * self.anatomy


def predicting_weights(slices: int, kept: Tensor) -> Tensor:
    """``(k, k)`` weights that predict every kept slice from the other kept ones, its own being zero.

    A volume is fitted to all slices but one, argmin |A x - y|^2 + |D x|^2 with second differences D, and A x is the
    prediction of the one left out: (H y)_i less its own share, over 1 - H_ii, with H = A (A^T A + D^T D)^-1 A^T (the
    leave-one-out identity of linear smoothers; Craven and Wahba 1979, lemma 3.2). A is that of Gaussian slices as
    thick as their spacing, whatever theirs are: it hardly matters here, and gains are those of the scan alone.

    Args:
        slices: how many the scan has.
        kept: ``(k,)`` the ones that count.
    """
    profile = gaussian_profile(1.0)
    grid = make_grid(slices, 1.0, 1 / VOXELS, profile.half_support_mm)
    matrix = ThroughPlaneOperator(profile, grid).matrix.double()[kept]
    differences = torch.diff(torch.eye(matrix.shape[1], dtype=torch.float64), n=2, dim=0)
    normal = matrix.T @ matrix + SMOOTHNESS * differences.T @ differences
    hat = matrix @ torch.linalg.solve(normal, matrix.T)
    return (hat / (1 - hat.diagonal())[:, None]).fill_diagonal_(0)


def slice_gains(scan: Tensor, mask: Tensor, spacing_mm: float) -> SliceGains | None:
    """Gains of the slices, from how bright each is against the volume that the others are slices of.

    The log ratio of a slice to its prediction (median over the head shared with its neighbours) is (I - W) log gains,
    with the weights W of :func:`predicting_weights`, plus an effect of anatomy. Both are taken to be independent from
    slice to slice, and the gains are their best linear estimate. Gains that change slowly along the scan cannot be
    distinguished from anatomy and are left in. Offsets are not fitted: odd and even slices differ by about the same
    factor in dark and in bright tissue.

    Args:
        scan: ``(p, q, m)`` intensities.
        mask: ``(p, q, m)`` boolean, head that is well above the noise.
        spacing_mm: distance of slice centres.

    Returns:
        None where fewer than 8 slices, two at both ends of the head left out, can be compared.
    """
    slices = scan.shape[-1]
    kept = (mask.flatten(0, 1).sum(0) >= FEWEST_PIXELS).nonzero()[:, 0]
    if len(kept) < FEWEST_SLICES + 2 * ENDS:
        return None
    scan, mask = scan[..., kept].double(), mask[..., kept]
    weights = predicting_weights(slices, kept)
    predicted = scan @ weights.T
    shared = mask & (predicted > 0)
    shared[..., 1:] &= mask[..., :-1]
    shared[..., :-1] &= mask[..., 1:]
    seen = (shared.flatten(0, 1).sum(0) >= FEWEST_PIXELS).nonzero()[ENDS:-ENDS, 0]
    if len(seen) < FEWEST_SLICES:
        return None
    ratios = [(scan[..., i] / predicted[..., i])[shared[..., i]].median().log() for i in seen.tolist()]
    found = torch.stack(ratios)
    spread, anatomy = NORMAL_MAD * float(found.abs().median()), ANATOMY_PER_MM * spacing_mm
    model = (torch.eye(len(kept), dtype=torch.float64) - weights)[seen]
    variance = max(0.0, spread**2 - anatomy**2) / float(model.square().sum(1).mean())
    covariance = variance * model @ model.T + anatomy**2 * torch.eye(len(seen), dtype=torch.float64)
    logs = variance * model.T @ torch.linalg.solve(covariance, found.clamp(-OUTLIER * spread, OUTLIER * spread))
    log_gains = torch.zeros(slices, dtype=torch.float64)
    log_gains[kept] = logs - logs[seen].mean()
    return SliceGains(log_gains, spread, anatomy)
