"""How far restored signals may be off, and how that goes together from signal to signal."""

from __future__ import annotations

import torch
from scipy import ndimage
from torch import Tensor

from focvs.acquisition.linear_operator import LinearOperator

DETAIL_MM = 2.5  # what is finer than a Gaussian of that standard deviation is detail
AROUND_MM = 6.0  # standard deviation of the Gaussian within which it is compared
MOST_CORRELATION = 0.9  # of that in slices, which is taken for that of what is missing


def detail_correlation(
    measured: Tensor, operator: LinearOperator, voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Tensor:
    """How detail of the signals goes together in the slices around each voxel: what is missing there does alike.

    Args:
        measured: ``(k, p, q, m)``.
        operator: from thin voxels to what was measured.
        voxel_mm: sizes of thin voxels.

    Returns:
        ``(p, q, n, k, k)`` correlations.
    """
    k = len(measured)
    # along an axis of coarse voxels a Gaussian that is finer than them takes nothing away
    fine = [0, *(DETAIL_MM / mm for mm in voxel_mm[:2]), 0]
    detail = measured - torch.from_numpy(ndimage.gaussian_filter(measured.numpy(), fine, mode="nearest"))
    wide = [AROUND_MM / mm for mm in voxel_mm]

    def around(product: Tensor) -> Tensor:
        return torch.from_numpy(ndimage.gaussian_filter(operator.adjoint(product).numpy(), wide, mode="nearest"))

    pairs = {(i, j): around(detail[i] * detail[j]) for i in range(k) for j in range(i, k)}
    found = torch.empty(*pairs[0, 0].shape, k, k, dtype=measured.dtype)
    for (i, j), together in pairs.items():
        alone = (pairs[i, i] * pairs[j, j]).clamp(min=0).sqrt()
        value = together / alone.clamp(min=1e-12 * float(alone.max()) or 1.0)
        found[..., i, j] = found[..., j, i] = value if i == j else MOST_CORRELATION * value
    return found


def precision_of(spread: Tensor, correlation: Tensor) -> Tensor:
    """Inverse of D R D, from deviations D ``(voxels, k)`` and correlations R ``(voxels, k, k)``."""
    return torch.linalg.inv(correlation) / (spread[:, :, None] * spread[:, None, :])


def with_guides(precision: Tensor, known: Tensor) -> Tensor:
    """The same with further, independent signals, ``(voxels, k + guides, k + guides)``; ``known (guides, voxels)``."""
    k = precision.shape[-1]
    whole = torch.zeros(len(precision), k + len(known), k + len(known), dtype=precision.dtype)
    whole[:, :k, :k] = precision
    whole[:, range(k, k + len(known)), range(k, k + len(known))] = known.T
    return whole


def correlated(errors: Tensor, spread: Tensor, correlation: Tensor) -> Tensor:
    """Independent errors of each signal, made to go together: D L D^-1 e, with L L^T = R.

    Args:
        errors: e ``(voxels, k)``, as samples of each signal alone have them.
        spread: D ``(voxels, k)`` their standard deviations.
        correlation: R ``(voxels, k, k)``.
    """
    lower = torch.linalg.cholesky(correlation)
    return spread * (lower @ (errors / spread)[..., None])[..., 0]
