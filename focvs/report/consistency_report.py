"""How well a written volume reproduces the scan it was made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from focvs.reconstruction.forward_model import Acquisition
from focvs.reconstruction.restoration import Restoration
from focvs.reconstruction.voxels import floor_of
from focvs.scan.scan import Scan


@dataclass(frozen=True)
class ConsistencyReport:
    """How well the written file reproduces the scan.

    Attributes:
        rule: consistency rule.
        final_replacement: whether the last exact replacement was made.
        max_abs_residual: largest absolute residual, in intensities.
        relative_residual: the same over the range of the scan's intensities.
        chi2: mean squared residual over the variance of the noise: 0 after exact replacement, 1 where the data are
            fitted to the noise; None without noise.
        chi2_before_last_replacement: the same of the sampled volume, in the head.
        below_floor: share of the voxels below zero, or below the lowest of the scan if that is lower.
        lowest: the lowest voxel, less the level of the background.
    """

    rule: str
    final_replacement: bool
    max_abs_residual: float
    relative_residual: float
    chi2: float | None
    chi2_before_last_replacement: float | None
    below_floor: float
    lowest: float


def measure_consistency(
    scan: Scan, acquisition: Acquisition, restoration: Restoration, volume: Tensor
) -> ConsistencyReport:
    """Degrade a written volume ``(p, q, n)`` again and compare it with the scan, in the scan's intensities."""
    largest, squares = 0.0, 0.0
    for row, y in zip(volume, torch.from_numpy(scan.data), strict=True):
        residual = acquisition.written.residual(row.double(), y.double())
        largest = max(largest, float(residual.abs().max()))
        squares += float(residual.square().sum())
    noise = restoration.noise_intensity
    return ConsistencyReport(
        rule=restoration.rule,
        final_replacement=restoration.exact,
        max_abs_residual=largest,
        relative_residual=largest / float(np.ptp(scan.data)),
        chi2=squares / scan.data.size / noise**2 if noise > 0 else None,
        chi2_before_last_replacement=restoration.misfit,
        below_floor=round(float((volume < floor_of(scan)).double().mean()), 6),
        lowest=float(volume.min()),
    )
