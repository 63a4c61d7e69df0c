"""What a method without a prior is given."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from focvs.acquisition.interpolation import interpolation_matrix
from focvs.acquisition.operator import ThroughPlaneOperator


@dataclass(frozen=True, eq=False)
class Problem:
    """What a method is given.

    Attributes:
        y: ``(p, q, m)`` slices, the head of order one.
        operator: A to ``n`` voxels, without margins.
        mask: ``(p, q, m)`` head.
        tv_weight: of total variation against the data.
        iterations: of total variation.
        steps: training steps of self-super-resolution and of the implicit representation.
        seed: of their weights and of what a step sees.
        guide: ``(p, q, n)`` another contrast of the head, of order one; for a method that looks at it.
        in_plane_mm: size of pixels, for the same.
    """

    y: Tensor
    operator: ThroughPlaneOperator
    mask: Tensor
    tv_weight: float = 0.001
    iterations: int = 20
    steps: int = 600
    seed: int = 0
    guide: Tensor | None = None
    in_plane_mm: tuple[float, float] = (1.0, 1.0)

    @property
    def interpolated(self) -> Tensor:
        """``(p, q, n)`` cubic B-spline and one exact replacement (unless slices overlap)."""
        return self.y @ interpolation_matrix(self.operator).to(self.y).T
