"""The forward model of a scan: thickness, profile, grid and operators."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from focvs.acquisition.grid import ThroughPlaneGrid, make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import SliceProfile
from focvs.config import parse_auto
from focvs.errors import InputError
from focvs.reconstruction.thickness import agree, estimate_thickness, load_profile
from focvs.run_config import RunConfig
from focvs.scan.scan import Scan
from focvs.scan.sidecar import Thickness, find_thickness

LEAST_NOISE = 0.005  # of slices that overlap, prior units: a quarter of a percent of the white level


@dataclass(frozen=True, eq=False)
class Acquisition:
    """How a scan was made, and the forward model that follows.

    Attributes:
        thickness: of the slices, and how it is known.
        profile: of the slices.
        grid: slices, and voxels of the volume.
        sampled: the operator that is sampled with, with margins.
        written: the operator that a written file is held to.
    """

    thickness: Thickness
    profile: SliceProfile
    grid: ThroughPlaneGrid
    sampled: ThroughPlaneOperator
    written: ThroughPlaneOperator


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
    given = thickness_of(config)
    if thickness is None and given == "estimate":
        thickness = estimate_thickness(scan, spacing_mm, config.profile)
    elif thickness is None:
        thickness = find_thickness(scan.path, spacing_mm, given)
    profile = load_profile(config.profile, thickness.thickness_mm)
    if not known:
        thickness = agree(thickness, profile, scan.path)
        if thickness.assumed:
            thickness = replace(thickness, warnings=(*thickness.warnings, thickness.assumed))
    grid = make_grid(
        scan.data.shape[-1],
        spacing_mm,
        voxel_mm,
        profile.half_support_mm,
        keep_extent=given_voxel_mm is None,
    )
    try:
        sampled, written = (ThroughPlaneOperator(profile, grid, ends, scan.missing) for ends in ("margin", "edge"))
    except ValueError as error:
        raise InputError(f"{scan.path.name}: {error}") from error
    return Acquisition(thickness, profile, grid, sampled, written)


def thickness_of(config: RunConfig, number: int = 0) -> Any:
    """``thickness=`` of the scan or, from 1, of a further stack: a number for all, or a list with one for each.

    Raises:
        InputError: for a list of another length.
    """
    if not isinstance(config.thickness, list):
        return config.thickness
    if len(config.thickness) != 1 + len(config.stacks):
        raise InputError(
            f"thickness={config.thickness} has {len(config.thickness)} values for {1 + len(config.stacks)} stacks; "
            "give one for each, or one for all."
        )
    return config.thickness[number]


def require_thickness(scan: Scan, config: RunConfig) -> None:
    """Refuse a thickness that does not fit the slices.

    Raises:
        InputError: as :func:`focvs.scan.sidecar.find_thickness` and :func:`slice_spacing`.
    """
    given, spacing_mm = thickness_of(config), slice_spacing(scan, config.spacing)
    if isinstance(given, int | float):
        find_thickness(scan.path, spacing_mm, given)


def slice_spacing(scan: Scan, given_mm: float | None) -> float:
    """Distance of slice centres in mm, as given or from the geometry.

    Raises:
        InputError: unless it is above 0.
    """
    spacing_mm = scan.spacing_mm if given_mm is None else given_mm
    if not 0 < spacing_mm < math.inf:
        raise InputError(f"spacing={spacing_mm:g} mm must be above 0; leave it out to take it from the geometry.")
    return spacing_mm
