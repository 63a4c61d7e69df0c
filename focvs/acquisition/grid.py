"""Where slices and voxels lie along the slice axis, in mm, and the affine that says so."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ThroughPlaneGrid:
    """Slices of a scan and voxels of the volume on one axis with its origin in the middle of the field of view.

    Attributes:
        slices: number of acquired slices, m.
        spacing_mm: distance of neighbouring slice centres, S.
        voxels: number of voxels across the field of view, n.
        voxel_mm: voxel size along the axis.
        margin: voxels beyond either end that end slices reach into; estimated with the rest, never written.
        shift_mm: how far the middle of the slices lies beyond the middle of the voxels; 0 for scans.
    """

    slices: int
    spacing_mm: float
    voxels: int
    voxel_mm: float
    margin: int = 0
    shift_mm: float = 0.0

    @property
    def total(self) -> int:
        """Voxels including both margins."""
        return self.voxels + 2 * self.margin

    @property
    def slice_centres_mm(self) -> Tensor:
        """``(slices,)`` float64."""
        return _centred(self.slices) * self.spacing_mm + self.shift_mm

    @property
    def voxel_edges_mm(self) -> Tensor:
        """``(total + 1,)`` float64, margins included."""
        return _centred(self.total + 1) * self.voxel_mm

    @property
    def voxel_places(self) -> Tensor:
        """``(total,)`` float64: voxel centres, margins included, counted in slices from the centre of the first one."""
        edges = self.voxel_edges_mm
        return ((edges[1:] + edges[:-1]) / 2 - self.shift_mm) / self.spacing_mm + (self.slices - 1) / 2

    @property
    def nearest_slices(self) -> Tensor:
        """``(total,)`` index of the slice nearest to each voxel, margins included."""
        return self.voxel_places.round().long().clamp(0, self.slices - 1)

    def crop(self, volume: Tensor) -> Tensor:
        """Remove the margins from the last axis."""
        return volume[..., self.margin : self.margin + self.voxels]

    def affine(self, scan_affine: np.ndarray) -> np.ndarray:
        """Affine of the volume from that of the scan: same centre, same directions, new voxel size.

        Args:
            scan_affine: ``(4, 4)`` voxel-to-world of the scan, its slice axis last, mm.
        """
        out = np.array(scan_affine, dtype=float)
        direction = out[:3, 2] / plane_distance_mm(out)  # longer than 1 where the stack leans a little
        centre = out[:3, 3] + out[:3, 2] * (self.slices - 1) / 2 - direction * self.shift_mm
        out[:3, 2] = direction * self.voxel_mm
        out[:3, 3] = centre - direction * self.voxel_mm * (self.voxels - 1) / 2
        return out


def plane_distance_mm(affine: np.ndarray) -> float:
    """Distance of neighbouring planes of the last axis: its step projected on the normal of the first two.

    Args:
        affine: ``(4, 4)`` voxel-to-world, mm; sheared where the step is not along the normal.
    """
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    return float(abs(affine[:3, 2] @ normal) / np.linalg.norm(normal))


def make_grid(
    slices: int,
    spacing_mm: float,
    voxel_mm: float,
    half_support_mm: float = 0.0,
    *,
    keep_extent: bool = True,
    shift_mm: float = 0.0,
) -> ThroughPlaneGrid:
    """Voxels of about ``voxel_mm`` across ``slices`` slices every ``spacing_mm``.

    Args:
        slices: number of slices.
        spacing_mm: distance of slice centres in mm.
        voxel_mm: wanted voxel size in mm.
        half_support_mm: reach of the slice profile, which sets the margin.
        keep_extent: adjust the voxel size by up to half a voxel in the whole extent so that the edges of the
            two fields of view coincide exactly; otherwise the voxel size is as given, both are centred, and the
            extents differ by up to half a voxel.
        shift_mm: how far the middle of the slices lies beyond the middle of the voxels.

    Raises:
        ValueError: if a number is not positive.
    """
    if slices < 1 or not spacing_mm > 0 or not voxel_mm > 0:
        raise ValueError(f"slices={slices}, spacing={spacing_mm} mm, voxel={voxel_mm} mm must all be above 0.")
    extent = slices * spacing_mm
    voxels = max(1, round(extent / voxel_mm))
    if keep_extent:
        voxel_mm = extent / voxels
    outermost = (slices - 1) / 2 * spacing_mm + half_support_mm + abs(shift_mm)
    margin = max(0, math.ceil((outermost - voxels * voxel_mm / 2) / voxel_mm - 1e-9))
    return ThroughPlaneGrid(slices, float(spacing_mm), voxels, float(voxel_mm), margin, shift_mm)


def _centred(count: int) -> Tensor:
    return torch.arange(count, dtype=torch.float64) - (count - 1) / 2
