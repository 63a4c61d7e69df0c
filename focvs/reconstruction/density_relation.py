"""How proton density goes with T1 around each voxel of a head, as far as coarse maps show it.

The water of a tissue and its T1 go together, 1 / PD = A + B / T1 (Fatouros et al., Magn Reson Med 1991), so where
signals leave proton density open T1 says something of it. How much is not taken from a textbook but from the maps: a
linear relation of the logarithms, by local least squares, and what it leaves.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from scipy import ndimage
from torch import Tensor

from focvs.acquisition.linear_operator import LinearOperator

AROUND_MM, AROUND = 4.0, 0.6  # standard deviation of the Gaussian within which it is found; at least, in coarse voxels
RIDGE = 0.07**2  # added to the variance of the logarithm of T1: what hardly varies explains nothing
LEAST_SPREAD = 0.02  # of the logarithm of proton density around the relation
LEAST_KNOWN = 0.01  # of the voxels around one, where fewer tell nothing


@dataclass(frozen=True, eq=False)
class Relation:
    """``normal . log q = offset`` with a standard deviation, in every voxel.

    Attributes:
        normal: ``(voxels, 3)`` for the logarithms of proton density, T1 and T2: 1, minus the slope, 0.
        offset: ``(voxels,)``.
        spread: ``(voxels,)``, infinite where no map is known around.
    """

    normal: Tensor
    offset: Tensor
    spread: Tensor

    def with_prior(self, mean: Tensor, precision: Tensor) -> tuple[Tensor, Tensor]:
        """Mean ``(voxels, 3)`` and precision ``(voxels, 3, 3)`` of the logarithms where both are known.

        Args:
            mean: ``(3,)`` of what is known besides.
            precision: ``(3, 3)``.
        """
        weight = self.spread**-2
        both = precision + weight[:, None, None] * self.normal[:, :, None] * self.normal[:, None, :]
        right = precision @ mean + (weight * self.offset)[:, None] * self.normal
        return torch.linalg.solve(both, right), both


def density_relation(
    maps: Tensor,
    known: Tensor,
    operator: LinearOperator,
    mask: Tensor,
    voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Relation:
    """The relation around the voxels of the head.

    Args:
        maps: ``(..., 3)`` on coarse voxels, above zero where they are known.
        known: ``(...)`` whether they are.
        operator: from thin voxels to coarse ones.
        mask: ``(p, q, n)`` the head, on thin voxels.
        voxel_mm: sizes of thin voxels.
    """
    density, t1 = torch.where(known[..., None], maps, 1.0).log().unbind(-1)[:2]
    coarse_mm = [mm * n / m for mm, n, m in zip(voxel_mm, mask.shape, known.shape, strict=True)]
    wide = [max(AROUND_MM, AROUND * coarse) / mm for coarse, mm in zip(coarse_mm, voxel_mm, strict=True)]

    def around(values: Tensor) -> Tensor:
        spread = operator.spread(values).numpy()
        return torch.from_numpy(ndimage.gaussian_filter(spread, wide, mode="nearest"))[mask]

    share, whole = around(known.double()), around(torch.ones_like(t1))
    nothing = share < LEAST_KNOWN * whole
    share = share.masked_fill(nothing, 1.0)
    mean, mean_t1 = around(known * density) / share, around(known * t1) / share
    variance, variance_t1, together = (
        around(known * product) / share - means
        for product, means in (
            (density**2, mean**2),
            (t1**2, mean_t1**2),
            (density * t1, mean * mean_t1),
        )
    )
    slope = together / (variance_t1.clamp(min=0) + RIDGE)
    left = variance - 2 * slope * together + slope**2 * variance_t1
    slope = slope.masked_fill(nothing, 0.0)
    normal = torch.stack([torch.ones_like(slope), -slope, torch.zeros_like(slope)], -1)
    size = left.clamp(min=LEAST_SPREAD**2).sqrt().masked_fill(nothing, math.inf)
    return Relation(normal, mean - slope * mean_t1, size)
