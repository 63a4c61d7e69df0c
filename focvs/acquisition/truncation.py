"""Voxels that are large because k-space was cut off: the operator of a quick scan, along any of three axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from focvs.acquisition.linear_operator import LinearOperator
from focvs.acquisition.resident import resident


class KSpaceTruncation(LinearOperator):
    """A on the last three axes: only the frequencies that voxels ``factors`` times as large can hold.

    Along an axis of n voxels, of which m = n / factor are measured, ``A[i, j] = (1 + 2 sum_k cos(2 pi k (c_i - j) / n))
    / n`` over the frequencies 0 < k < m / 2, and for an even m that of m / 2 once; c_i is the centre of measured voxel
    i, counted in thin voxels. Both fields of view are the same, and periodic. The pseudo-inverse is exact.

    Args:
        shape: thin voxels of the last three axes.
        factors: whole numbers, 1 for an axis that is not cut off.

    Raises:
        ValueError: for a factor that does not divide its axis.
    """

    def __init__(self, shape: Sequence[int], factors: Sequence[int]):
        for n, factor in zip(shape, factors, strict=True):
            if factor < 1 or n % factor:
                raise ValueError(f"{n} voxels cannot be measured as voxels {factor} times as large.")
        self.shape, self.factors = tuple(shape), tuple(factors)
        self.matrices = [_truncated(n, n // f) if f > 1 else None for n, f in zip(shape, factors, strict=True)]

    @cached_property
    def inverses(self) -> list[Tensor | None]:
        """The pseudo-inverses of its matrices."""
        return [None if matrix is None else torch.linalg.pinv(matrix) for matrix in self.matrices]

    @cached_property
    def _transposes(self) -> list[Tensor | None]:
        return [None if matrix is None else matrix.T for matrix in self.matrices]

    def forward(self, volume: Tensor) -> Tensor:
        return _along(self.matrices, volume)

    def adjoint(self, measured: Tensor) -> Tensor:
        return _along(self._transposes, measured)

    def spread(self, measured: Tensor) -> Tensor:
        for axis, factor in zip((-3, -2, -1), self.factors, strict=True):
            measured = measured.repeat_interleave(factor, axis)
        return measured

    def share(self, mask: Tensor) -> Tensor:
        for axis, factor in zip((-3, -2, -1), self.factors, strict=True):
            mask = mask.unflatten(axis, (-1, factor)).mean(axis)
        return mask

    def pseudo_inverse(self, measured: Tensor) -> Tensor:
        return _along(self.inverses, measured)


def _along(matrices: Sequence[Tensor | None], volume: Tensor) -> Tensor:
    """A matrix for each of the last three axes."""
    for axis, matrix in zip((-3, -2, -1), matrices, strict=True):
        if matrix is not None:
            volume = (volume.movedim(axis, -1) @ resident(matrix, volume).T).movedim(-1, axis)
    return volume


def _truncated(n: int, m: int) -> Tensor:
    """``(m, n)`` float64."""
    centres = (torch.arange(m, dtype=torch.float64) + 0.5) * (n / m) - 0.5
    away = 2 * math.pi / n * (centres[:, None] - torch.arange(n, dtype=torch.float64))
    whole = torch.arange(1, (m + 1) // 2, dtype=torch.float64)
    kernel = 1 + 2 * torch.cos(whole[:, None, None] * away).sum(0)
    if m % 2 == 0:
        kernel = kernel + torch.cos(m / 2 * away)
    return kernel / n
