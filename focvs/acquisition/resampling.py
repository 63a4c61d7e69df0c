"""Resampling between voxel grids that are rotated against each other: three one-dimensional passes, exact adjoint."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.linear_operator import LinearOperator
from focvs.acquisition.resident import resident

ROWS = 16  # of lines interpolated at once, which bounds the memory


@lru_cache
def spline_coefficients(n: int) -> Tensor:
    """``(n, n)`` float64: samples to coefficients of the cubic B-spline through them, the end ones continued."""
    values = torch.zeros(n, n, dtype=torch.float64)
    for offset, weight in ((-1, 1 / 6), (0, 4 / 6), (1, 1 / 6)):
        at = (torch.arange(n) + offset).clamp(0, n - 1)
        values[torch.arange(n), at] += weight
    return torch.linalg.inv(values)


def _weights(fraction: Tensor) -> tuple[Tensor, ...]:
    """Of the four coefficients around a place ``fraction`` of a sample beyond the second one."""
    f, g = fraction, 1 - fraction
    return g**3 / 6, (4 - 6 * f**2 + 3 * f**3) / 6, (4 - 6 * g**2 + 3 * g**3) / 6, f**3 / 6


@dataclass(frozen=True, eq=False)
class Pass:
    """Cubic B-spline interpolation along one axis, at places that are an affine function of all three indices.

    Attributes:
        axis: 0, 1 or 2.
        rows: ``(3,)`` places = rows . (index of the result) + offset; other axes keep their index.
        offset: see there.
        size: samples of the result along ``axis``.
    """

    axis: int
    rows: tuple[float, float, float]
    offset: float
    size: int

    def forward(self, image: Tensor) -> Tensor:
        """``(x, y, z)`` to the same with ``size`` along the axis, in the precision of ``image``."""
        lines = image.movedim(self.axis, -1)
        coefficients = lines @ resident(spline_coefficients(lines.shape[-1]), image).T
        if self._straight:
            return (coefficients @ resident(self._matrix(lines.shape[-1]), image).T).movedim(-1, self.axis)
        out = image.new_empty(*lines.shape[:2], self.size)
        for i in range(0, len(lines), ROWS):
            part = coefficients[i : i + ROWS]
            index, weights = self._places(part, i)
            out[i : i + ROWS] = sum(
                w * part.gather(-1, (index + k).clamp(0, lines.shape[-1] - 1))
                for k, w in zip((-1, 0, 1, 2), weights, strict=True)
            )
        return out.movedim(-1, self.axis)

    def adjoint(self, image: Tensor, length: int) -> Tensor:
        """The transpose: ``size`` along the axis to ``length``."""
        lines = image.movedim(self.axis, -1)
        if self._straight:
            coefficients = lines @ resident(self._matrix(length), image)
        else:
            coefficients = image.new_zeros(*lines.shape[:2], length)
            for i in range(0, len(lines), ROWS):
                part, values = coefficients[i : i + ROWS], lines[i : i + ROWS]
                index, weights = self._places(part, i)
                for k, w in zip((-1, 0, 1, 2), weights, strict=True):
                    part.scatter_add_(-1, (index + k).clamp(0, length - 1), w * values)
        return (coefficients @ resident(spline_coefficients(length), image)).movedim(-1, self.axis)

    @property
    def _straight(self) -> bool:
        """Whether every line has the same places."""
        return all(abs(r) < 1e-9 for axis, r in enumerate(self.rows) if axis != self.axis)

    def _matrix(self, length: int) -> Tensor:
        """``(size, length)`` from coefficients to samples, float64; made once."""
        return _straight_matrix(self.rows[self.axis], self.offset, self.size, length)

    def _places(self, lines: Tensor, first: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Index of the second coefficient and weights of the four, ``(a, b, size)``; lines from row ``first``."""
        a, b = (axis for axis in range(3) if axis != self.axis)
        along = torch.arange(self.size, dtype=torch.float64) * self.rows[self.axis] + self.offset
        rows = (first + torch.arange(lines.shape[0], dtype=torch.float64)) * self.rows[a]
        columns = torch.arange(lines.shape[1], dtype=torch.float64) * self.rows[b]
        places = rows[:, None, None] + columns[:, None] + along
        index = places.floor()
        fraction = (places - index).to(lines)
        return index.long().to(lines.device), _weights(fraction)


@lru_cache
def _straight_matrix(step: float, offset: float, size: int, length: int) -> Tensor:
    """``(size, length)`` from coefficients to samples at ``step`` times their index + ``offset``, float64."""
    places = step * torch.arange(size, dtype=torch.float64) + offset
    index = places.floor()
    matrix = torch.zeros(size, length, dtype=torch.float64)
    for k, w in zip((-1, 0, 1, 2), _weights(places - index), strict=True):
        matrix.scatter_add_(1, (index.long() + k).clamp(0, length - 1)[:, None], w[:, None])
    return matrix


class GridResampling(LinearOperator):
    """R: a volume on one voxel grid to another, rotated and shifted against it, by cubic B-splines.

    An affine change of grid is a product of three changes along one axis each (Catmull and Smith 1980, "3-D
    transformations of images in scanline order", section 2), so each pass costs four products a voxel, and the
    transpose is exact. Beyond the edge the last voxel continues; :attr:`covered` says where that is.

    Args:
        shape: of the volume that is given.
        affine: ``(4, 4)`` its voxel-to-world, mm.
        new_shape: of the volume that is wanted.
        new_affine: ``(4, 4)`` of that one.

    Raises:
        ValueError: if the axes of the two cannot be paired: no three passes exist.
    """

    def __init__(
        self, shape: tuple[int, int, int], affine: np.ndarray, new_shape: tuple[int, int, int], new_affine: np.ndarray
    ):
        to_index = np.linalg.inv(affine) @ new_affine
        self.shape = shape
        self.scale = abs(float(np.linalg.det(to_index[:3, :3])))  # volume of a new voxel in old ones
        # axis k of the new grid runs most along axis order[k] of the old one
        alignment = np.abs(to_index[:3, :3]) / np.linalg.norm(to_index[:3, :3], axis=0)
        self.order = max(permutations(range(3)), key=lambda o: float(np.prod([alignment[o[k], k] for k in range(3)])))
        matrix, offset = to_index[list(self.order), :3], to_index[list(self.order), 3]
        self.passes = []
        for axis in range(3):
            # index of the old volume along this axis, from new indices up to it and old ones beyond
            later = list(range(axis + 1, 3))
            row, constant = matrix[axis].copy(), float(offset[axis])
            if later:
                block = matrix[np.ix_(later, later)]
                if abs(np.linalg.det(block)) < 1e-3:
                    raise ValueError("the two grids are turned by too much against each other.")
                share = row[later] @ np.linalg.inv(block)  # new indices of later axes, from the old ones
                row[: axis + 1] -= share @ matrix[np.ix_(later, list(range(axis + 1)))]
                constant -= float(share @ offset[later])
                row[later] = share
            self.passes.append(Pass(axis, (float(row[0]), float(row[1]), float(row[2])), constant, new_shape[axis]))
        index = [torch.arange(n, dtype=torch.float64) for n in new_shape]
        covered = torch.ones(new_shape, dtype=torch.bool)
        for axis in range(3):
            r = matrix[axis]
            place = (r[0] * index[0])[:, None, None] + (r[1] * index[1])[:, None] + r[2] * index[2] + offset[axis]
            covered &= (place > -0.501) & (place < shape[self.order[axis]] - 0.499)
        self.covered = covered

    def forward(self, volume: Tensor) -> Tensor:
        """R x."""
        image = volume.permute(self.order)
        for step in self.passes:
            image = step.forward(image)
        return image

    def adjoint(self, image: Tensor) -> Tensor:
        """R^T y."""
        lengths = [self.shape[axis] for axis in self.order]
        for step in reversed(self.passes):
            image = step.adjoint(image, lengths[step.axis])
        back: list[int] = np.argsort(self.order).tolist()
        return image.permute(back)

    def pseudo_inverse(self, image: Tensor) -> Tensor:
        """R^T x scaled so that what is smooth keeps its size: R^+ but for the highest frequencies."""
        return self.scale * self.adjoint(image)
