"""The slices another stack of the same head makes of a volume: resample to its grid, average pixels, weigh slices."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.linear_operator import LinearOperator
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.resampling import GridResampling
from focvs.acquisition.resident import resident

COVERED = 0.999  # of a slice voxel's weight must lie in the volume for it to count


class StackOperator(LinearOperator):
    """B = A P R: volume to the grid of a stack (R), pixels averaged (P), slices made (A).

    The adjoint is exact; the pseudo-inverse R^+ P^+ A^+ is that but for the highest frequencies, which R^+ misses.

    Args:
        shape: ``(p, q, n)`` of the volume.
        affine: ``(4, 4)`` its voxel-to-world, mm.
        operator: A of the stack with its margins.
        stack_shape: ``(p', q')`` pixels of the stack.
        stack_affine: ``(4, 4)`` of the stack, its slice axis last, mm.
        fine: ``(2,)`` steps a pixel of the stack is averaged from along p' and q'.

    Raises:
        ValueError: if the two grids cannot be paired.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        affine: np.ndarray,
        operator: ThroughPlaneOperator,
        stack_shape: tuple[int, int],
        stack_affine: np.ndarray,
        fine: tuple[int, int] = (1, 1),
    ):
        self.operator, self.fine = operator, fine
        grid = operator.grid
        finely = grid.affine(stack_affine)
        finely[:3, 3] -= grid.margin * finely[:3, 2]
        for axis, steps in enumerate(fine):
            finely[:3, axis] /= steps
            finely[:3, 3] -= (steps - 1) / 2 * finely[:3, axis]
        size = (stack_shape[0] * fine[0], stack_shape[1] * fine[1], grid.total)
        self.resampling = GridResampling(shape, affine, size, finely)
        self.covered = self._acquire(self.resampling.covered.float()) > COVERED

    def forward(self, volume: Tensor) -> Tensor:
        """B x: ``(p, q, n)`` to ``(p', q', m)``, in the precision of the volume."""
        return self._acquire(self.resampling(volume))

    def adjoint(self, measured: Tensor) -> Tensor:
        """B^T y: ``(p', q', m)`` to ``(p, q, n)``."""
        pixels = self.fine[0] * self.fine[1]
        return self.resampling.adjoint(self._repeat(self.operator.adjoint(measured)) / pixels)

    def pseudo_inverse(self, measured: Tensor) -> Tensor:
        """B^+ y: ``(p', q', m)`` to ``(p, q, n)``."""
        return self.back(self.operator.pseudo_inverse(measured))

    def residual(self, volume: Tensor, measured: Tensor) -> Tensor:
        """y - B x where the volume covers the slices, else 0."""
        return (measured - self.forward(volume)) * resident(self.covered, volume)

    def back(self, columns: Tensor) -> Tensor:
        """Corrections ``(p', q', n')`` of the stack's columns to the volume: R^+ P^+."""
        return self.resampling.pseudo_inverse(self._repeat(columns))

    def _acquire(self, finely: Tensor) -> Tensor:
        for axis, steps in enumerate(self.fine):
            if steps > 1:
                finely = finely.unflatten(axis, (-1, steps)).mean(axis + 1)
        return self.operator(finely)

    def _repeat(self, columns: Tensor) -> Tensor:
        for axis, steps in enumerate(self.fine):
            if steps > 1:
                columns = torch.repeat_interleave(columns, steps, dim=axis)
        return columns
