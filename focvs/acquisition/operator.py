"""The through-plane operator A: thin voxels to thick slices, one small dense matrix for every column."""

from __future__ import annotations

from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from focvs.acquisition.grid import ThroughPlaneGrid
from focvs.acquisition.profile import SliceProfile


class ThroughPlaneOperator:
    """A acts on the last axis: ``(..., voxels)`` to ``(..., slices)``.

    ``A[i, k]`` is the integral over voxel k of p(z - c_i), rows normalised to sum 1 (design equation of section
    1), so a constant stays itself and no end slice darkens.

    Args:
        profile: slice profile p.
        grid: slices and voxels.
        ends: what rows see beyond the field of view. ``margin``: unknown voxels, so the last axis has
            ``grid.total`` voxels. ``edge``: the outermost voxel continued, so it has ``grid.voxels`` voxels;
            this is the operator that a written file is consistent with.

    Raises:
        ValueError: if slices fall outside the voxels altogether.
    """

    def __init__(self, profile: SliceProfile, grid: ThroughPlaneGrid, ends: Literal["margin", "edge"] = "margin"):
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
        self.matrix: Tensor = matrix / weight

    @cached_property
    def svd(self) -> tuple[Tensor, Tensor, Tensor]:
        """``U (m, r), singular values (r,), V^T (r, n)``, float64."""
        return tuple(torch.linalg.svd(self.matrix, full_matrices=False))  # type: ignore[return-value]

    @cached_property
    def pseudo_inverse_matrix(self) -> Tensor:
        """A^+ ``(n, m)``, float64."""
        return torch.linalg.pinv(self.matrix)

    @property
    def condition_number(self) -> float:
        """Largest over smallest singular value."""
        values = self.svd[1]
        return float(values[0] / values[-1])

    def forward(self, volume: Tensor) -> Tensor:
        """A x: ``(..., n)`` to ``(..., m)``, in the precision of ``volume``."""
        return volume @ self.matrix.to(volume).T

    __call__ = forward

    def adjoint(self, scan: Tensor) -> Tensor:
        """A^T y: ``(..., m)`` to ``(..., n)``."""
        return scan @ self.matrix.to(scan)

    def pseudo_inverse(self, scan: Tensor) -> Tensor:
        """A^+ y: ``(..., m)`` to ``(..., n)``, the volume of least norm that reproduces ``scan``."""
        return scan @ self.pseudo_inverse_matrix.to(scan).T

    def replace(self, volume: Tensor, scan: Tensor) -> Tensor:
        """x + A^+ (y - A x): the nearest volume that reproduces ``scan`` exactly."""
        return volume + self.pseudo_inverse(scan - self.forward(volume))

    def null_space(self, volume: Tensor) -> Tensor:
        """(I - A^+ A) x: what the scan says nothing about."""
        return volume - self.pseudo_inverse(self.forward(volume))

    def gain(self, covariance: Tensor, noise_sigma: float | Tensor = 0.0) -> Tensor:
        """K = C A^T (A C A^T + sigma_y^2 I)^-1, ``(..., n, m)`` float64.

        Args:
            covariance: ``(..., n, n)`` assumed covariance C of the denoiser's error.
            noise_sigma: standard deviation of the scan's noise, in the units of C's square root.
        """
        covariance = covariance.double()
        cross = covariance @ self.matrix.T
        normal = self.matrix @ cross
        noise = torch.as_tensor(noise_sigma, dtype=torch.float64) ** 2
        # a jitter of 1e-12 of the mean variance keeps a vanishing C (a perfect denoiser) solvable
        jitter = 1e-12 * normal.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None] + 1e-300
        normal = normal + (noise + jitter) * torch.eye(normal.shape[-1], dtype=torch.float64)
        return torch.linalg.solve(normal, cross.mT).mT

    def __repr__(self) -> str:
        g = self.grid
        return (
            f"ThroughPlaneOperator({self.matrix.shape[1]} voxels of {g.voxel_mm:.4g} mm -> {g.slices} slices of "
            f"{self.profile.fwhm_mm:.3g} mm every {g.spacing_mm:.4g} mm, {self.profile.kind}, "
            f"condition {self.condition_number:.3g})"
        )
