"""Slices that are brighter or darker than their neighbours say, one by one, from the slices themselves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from focvs.acquisition.interleaving import FEWEST_PIXELS, FEWEST_SLICES, NORMAL_MAD
from focvs.acquisition.operator import ThroughPlaneOperator

SMOOTHNESS = 1.0  # of the volume a slice is predicted from, against the slices
# what anatomy alone does to the brightness of a slice against its neighbours, per mm between slices: about twice the
# median of 15 heads with slices every 3 to 8 mm, the largest of which is 1.7 times this (scripts/benchmark_gains.py)
ANATOMY_PER_MM = 0.0025
CLEAR = 2.5  # times what anatomy does: below that gains are left alone
ENDS = 2  # slices at both ends of the head, where anatomy changes most
OUTLIER = 4.0  # times the spread: a slice that differs by more is taken to differ by that much


@dataclass(frozen=True, eq=False)
class SliceGains:
    """Brightness of slices against what the others say.

    Attributes:
        log_gains: ``(slices,)`` natural logarithm of the factors the slices carry, as far as neighbours can tell.
        spread: standard deviation of slices around what the others predict, logarithms, robust.
        anatomy: what anatomy alone would make it.
    """

    log_gains: Tensor
    spread: float
    anatomy: float

    @property
    def clear(self) -> bool:
        """Whether the spread is more than anatomy makes it."""
        return self.spread > CLEAR * self.anatomy


def predicting_weights(operator: ThroughPlaneOperator) -> Tensor:
    """``(slices, slices)`` weights that predict every slice from the others, its own being zero.

    A volume is fitted to all slices but one, argmin |A x - y|^2 + |D x|^2 with second differences D, and A x is the
    prediction of the one left out: (H y)_i less its own share, over 1 - H_ii, with H = A (A^T A + D^T D)^-1 A^T (the
    leave-one-out identity of linear smoothers; Craven and Wahba 1979, lemma 3.2).
    """
    matrix = operator.matrix.double()
    differences = torch.diff(torch.eye(matrix.shape[1], dtype=torch.float64), n=2, dim=0)
    normal = matrix.T @ matrix + SMOOTHNESS * differences.T @ differences
    hat = matrix @ torch.linalg.solve(normal, matrix.T)
    weights = hat / (1 - hat.diagonal())[:, None]
    return weights.fill_diagonal_(0)


def slice_gains(scan: Tensor, mask: Tensor, operator: ThroughPlaneOperator) -> SliceGains | None:
    """Gains of the slices, from how bright each is against the volume that the others are slices of.

    The logarithm of the ratio, its median over the head of the slice, is (I - W) log gains with the weights W of
    :func:`predicting_weights`, and what anatomy does. Gains are their best linear estimate, both taken to be
    independent from slice to slice; gains that change slowly along the scan cannot be told from anatomy and stay.
    Offsets are not fitted: what differs between passes does by the same factor in dark and bright tissue.

    Args:
        scan: ``(p, q, m)`` intensities.
        mask: ``(p, q, m)`` boolean, head that is well above the noise.
        operator: forward model of the scan.

    Returns:
        None where fewer than 8 slices, two at both ends of the head left out, can be compared.
    """
    scan, weights = scan.double(), predicting_weights(operator)
    predicted = scan @ weights.T
    shared = mask.clone()
    shared[..., 1:] &= mask[..., :-1]
    shared[..., :-1] &= mask[..., 1:]
    shared &= predicted > 0
    seen = (shared.flatten(0, 1).sum(0) >= FEWEST_PIXELS).nonzero()[ENDS:-ENDS, 0]
    if len(seen) < FEWEST_SLICES:
        return None
    ratios = [(scan[..., i] / predicted[..., i])[shared[..., i]].median().log() for i in seen.tolist()]
    found = torch.stack(ratios)
    found = found - found.median()
    spread = NORMAL_MAD * float(found.abs().median())
    anatomy = ANATOMY_PER_MM * operator.grid.spacing_mm
    model = (torch.eye(len(weights), dtype=torch.float64) - weights)[seen]
    variance = max(0.0, spread**2 - anatomy**2) / float(model.square().sum(1).mean())
    covariance = variance * model @ model.T + anatomy**2 * torch.eye(len(seen), dtype=torch.float64)
    logs = variance * model.T @ torch.linalg.solve(covariance, found.clamp(-OUTLIER * spread, OUTLIER * spread))
    return SliceGains(logs - logs[seen].mean(), spread, anatomy)
