"""The forward model of a scan: thickness, profile, grid and operators."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from focvs.acquisition.grid import ThroughPlaneGrid, make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import SliceProfile
from focvs.config import RunConfig, parse_auto
from focvs.errors import InputError
from focvs.reconstruction.thickness import agree, estimate_thickness, load_profile
from focvs.scan.scan import Scan
from focvs.scan.sidecar import Thickness, find_thickness

LEAST_NOISE = 0.005  # of slices that overlap, prior units: a quarter of a percent of the white level


@dataclass(frozen=True, eq=False)
class Acquisition:
    """The forward model of a scan: the operator sampled with, and the one a written file is held to."""

    thickness: Thickness
    profile: SliceProfile
    grid: ThroughPlaneGrid
    sampled: ThroughPlaneOperator
    written: ThroughPlaneOperator

    def describe(self, scan: Scan) -> dict[str, Any]:
        """The ``acquisition`` block of the JSON."""
        return {
            "axis": scan.axis,
            "direction": scan.slice_direction(),
            "spacing_mm": self.grid.spacing_mm,
            "thickness_mm": self.thickness.thickness_mm,
            "gap_mm": self.grid.spacing_mm - self.thickness.thickness_mm,
            "profile": self.profile.kind,
            "fwhm_mm": self.profile.fwhm_mm,
            "source": self.thickness.source,
            "thickness_interval_mm": self.thickness.interval_mm,
            "stated": [asdict(statement) for statement in self.thickness.statements],
            "condition_number": self.written.condition_number,
            "slices": self.grid.slices,
            "voxels": self.grid.voxels,
            "voxel_mm": self.grid.voxel_mm,
            "slice_gains": None if scan.gains is None else [round(float(g), 5) for g in scan.gains],
        }


def model_acquisition(
    scan: Scan, config: RunConfig, automatic_mm: float | None = None, thickness: Thickness | None = None
) -> Acquisition:
    """Thickness, profile, grid and operators of a scan.

    Args:
        scan: the scan.
        config: thickness, spacing, voxel and profile.
        automatic_mm: what ``voxel=auto`` is; None = the smaller in-plane size.
        thickness: where it is known already.

    Raises:
        InputError: for numbers that cannot be.
    """
    spacing_mm = slice_spacing(scan, config.spacing)
    given_voxel_mm = parse_auto("voxel", config.voxel)
    voxel_mm = (automatic_mm or min(scan.in_plane_mm)) if given_voxel_mm is None else given_voxel_mm
    if not 0 < voxel_mm < spacing_mm:
        raise InputError(f"voxel={voxel_mm:.4g} mm must be above 0 and below the slice spacing of {spacing_mm:.4g} mm.")
    known = thickness is not None
    if thickness is None and config.thickness == "estimate":
        thickness = estimate_thickness(scan, spacing_mm, config.profile)
    elif thickness is None:
        thickness = find_thickness(scan.path, spacing_mm, config.thickness)
    profile = load_profile(config.profile, thickness.thickness_mm)
    thickness = thickness if known else agree(thickness, profile, scan.path)
    grid = make_grid(
        scan.data.shape[-1],
        spacing_mm,
        voxel_mm,
        profile.half_support_mm,
        keep_extent=given_voxel_mm is None,
    )
    try:
        sampled, written = (ThroughPlaneOperator(profile, grid, ends) for ends in ("margin", "edge"))
    except ValueError as error:
        raise InputError(f"{scan.path.name}: {error}") from error
    return Acquisition(thickness, profile, grid, sampled, written)


def slice_spacing(scan: Scan, given_mm: float | None) -> float:
    """Distance of slice centres in mm, as given or from the geometry.

    Raises:
        InputError: unless it is above 0.
    """
    spacing_mm = scan.spacing_mm if given_mm is None else given_mm
    if not 0 < spacing_mm < math.inf:
        raise InputError(f"spacing={spacing_mm:g} mm must be above 0; leave it out to take it from the geometry.")
    return spacing_mm
