"""The through-plane operator A: thin voxels to thick slices, one small dense matrix for every column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from focvs.acquisition.grid import ThroughPlaneGrid
from focvs.acquisition.linear_operator import MatrixOperator
from focvs.acquisition.profile import SliceProfile
from focvs.acquisition.resident import resident


class ThroughPlaneOperator(MatrixOperator):
    """A acts on the last axis: ``(..., voxels)`` to ``(..., slices)``.

    ``A[i, k]`` is the integral over voxel k of p(z - c_i), rows normalised to sum 1 (design equation of section
    1), so a constant stays itself and no end slice darkens. Its pseudo-inverse is exact.

    Args:
        profile: slice profile p.
        grid: slices and voxels.
        ends: what rows see beyond the field of view. ``margin``: unknown voxels, so the last axis has
            ``grid.total`` voxels. ``edge``: the outermost voxel continued, so it has ``grid.voxels`` voxels;
            this is the operator that a written file is consistent with.
        missing: slices that were not measured: their rows are zero, so that nothing follows from them.

    Raises:
        ValueError: if slices fall outside the voxels altogether.
    """

    def __init__(
        self,
        profile: SliceProfile,
        grid: ThroughPlaneGrid,
        ends: Literal["margin", "edge"] = "margin",
        missing: Sequence[int] = (),
    ):
        self.profile, self.grid, self.ends = profile, grid, ends
        offsets = grid.voxel_edges_mm[None, :] - grid.slice_centres_mm[:, None]
        matrix = profile.cumulative(offsets).diff(dim=1)
        if ends == "edge" and grid.margin:
            inner = grid.crop(matrix).clone()
            inner[:, 0] += matrix[:, : grid.margin].sum(1)
            inner[:, -1] += matrix[:, grid.margin + grid.voxels :].sum(1)
            matrix = inner
        weight = matrix.sum(1, keepdim=True)
        if (weight <= 0).any():
            raise ValueError("some slices lie outside the volume: the voxels must cover all slice centres.")
        matrix = matrix / weight
        self.seen = torch.ones(len(matrix), dtype=torch.float64)
        self.seen[list(missing)] = 0
        super().__init__(matrix * self.seen[:, None])

    @property
    def condition_number(self) -> float:
        """Largest over smallest singular value, of the measured slices."""
        values = self.svd[1][: int(self.seen.sum())]
        return float(values[0] / values[-1])

    def residual(self, volume: Tensor, measured: Tensor) -> Tensor:
        """y - A x, zero where nothing was measured."""
        return (measured - self.forward(volume)) * resident(self.seen, volume)

    def __repr__(self) -> str:
        g = self.grid
        return (
            f"ThroughPlaneOperator({self.matrix.shape[1]} voxels of {g.voxel_mm:.4g} mm -> {g.slices} slices of "
            f"{self.profile.fwhm_mm:.3g} mm every {g.spacing_mm:.4g} mm, {self.profile.kind}, "
            f"condition {self.condition_number:.3g})"
        )
