"""What a scan is, before any prior: thickness, profile, grid and operators, and where its voxels lie."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.adversarial import estimate_adversarially
from focvs.acquisition.estimation import ANISOTROPY, ProfileEstimate, estimate_profile
from focvs.acquisition.grid import ThroughPlaneGrid, make_grid
from focvs.acquisition.metadata import Statement, Thickness, find_thickness, stated_profile
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import EXCITED, SliceProfile, make_profile, sampled_profile
from focvs.config import ProfileConfig, RunConfig, parse_auto
from focvs.errors import InputError
from focvs.slices import Region, find_region
from focvs.volume import Scan, axis_directions, intensity_scale

SAME_WIDTH = 0.01  # relative difference of a profile's width and a thickness that are one
LEAST_NOISE = 0.005  # of slices that overlap, prior units: a quarter of a percent of the white level
BLANK_REACH = 2  # slices on both sides that must be zero too for a voxel to be blank


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


def agree(thickness: Thickness, profile: SliceProfile, scan_path: Path) -> Thickness:
    """The thickness of a profile that brings its own scale, and what the sidecar says of its shape.

    Raises:
        InputError: if ``thickness=`` contradicts the profile's own positions in mm.
    """
    warnings, width_mm = thickness.warnings, profile.fwhm_mm
    if (stated := stated_profile(scan_path)) not in (None, profile.kind):
        warnings += (f"the JSON beside the scan says slices of profile {stated}; {profile.kind} was used.",)
    if profile.kind != "sampled" or abs(width_mm / thickness.thickness_mm - 1) <= SAME_WIDTH:
        return replace(thickness, warnings=warnings)
    require_width(profile, thickness.thickness_mm if thickness.source == "override" else None)
    if thickness.source == "sidecar":
        warnings += (f"the JSON says slices of {thickness.thickness_mm:.4g} mm, the profile {width_mm:.4g} mm.",)
    statements = (*thickness.statements, Statement("profile", width_mm))
    return Thickness(width_mm, "profile", warnings, None, statements)


def require_width(profile: SliceProfile, thickness_mm: float | None) -> None:
    """Refuse a thickness other than that of a profile with positions in mm.

    Raises:
        InputError: if one was given that is not that of the profile.
    """
    if profile.kind == "sampled" and thickness_mm and abs(profile.fwhm_mm / thickness_mm - 1) > SAME_WIDTH:
        raise InputError(
            f"thickness={thickness_mm:g} mm, but the positions of the profile make it {profile.fwhm_mm:.4g} mm wide; "
            f"give thickness={profile.fwhm_mm:.4g}, or a profile of weights alone, which is scaled."
        )


def slice_spacing(scan: Scan, given_mm: float | None) -> float:
    """Distance of slice centres in mm, as given or from the geometry.

    Raises:
        InputError: unless it is above 0.
    """
    spacing_mm = scan.spacing_mm if given_mm is None else given_mm
    if not 0 < spacing_mm < math.inf:
        raise InputError(f"spacing={spacing_mm:g} mm must be above 0; leave it out to take it from the geometry.")
    return spacing_mm


def estimate_thickness(scan: Scan, spacing_mm: float, profile: ProfileConfig) -> Thickness:
    """Slice thickness from the scan itself, with the header's word as the fallback and for comparison.

    Args:
        scan: the scan.
        spacing_mm: distance of slice centres.
        profile: the shape whose width is wanted.

    Raises:
        InputError: for a profile that brings its own width.
    """
    declared = find_thickness(scan.path, spacing_mm)
    try:
        estimate = profile_of_scan(scan, spacing_mm, profile)
    except ValueError as error:
        if isinstance(error, InputError):
            raise
        warning = (
            f"the slice thickness could not be estimated: {error} "
            f"{declared.thickness_mm:.4g} mm was used, from the {declared.source}."
        )
        return replace(declared, warnings=(*declared.warnings, warning))
    warnings = declared.warnings
    if declared.source == "sidecar" and not estimate.low_mm <= declared.thickness_mm <= estimate.high_mm:
        warnings += (
            f"the JSON sidecar says a thickness of {declared.thickness_mm:.3g} mm, the scan itself "
            f"{estimate.low_mm:.2g} to {estimate.high_mm:.2g} mm; the estimate was used.",
        )
    interval = (estimate.low_mm, estimate.high_mm)
    note = f"95 % interval {interval[0]:.3g} to {interval[1]:.3g} mm"
    statements = (*declared.statements, Statement("spectra of the scan", estimate.profile.fwhm_mm, None, note))
    return Thickness(estimate.profile.fwhm_mm, "estimate", warnings, interval, statements)


def profile_of_scan(
    scan: Scan, spacing_mm: float, profile: ProfileConfig, adversarial_seeds: int | None = None
) -> ProfileEstimate:
    """:func:`focvs.acquisition.estimation.estimate_profile` inside the head of a scan.

    With ``adversarial_seeds`` it is :func:`focvs.acquisition.adversarial.estimate_adversarially` with that many seeds.

    Raises:
        InputError: for a profile that brings its own width, or an unknown shape.
        ValueError: if the scan does not tell.
    """
    if profile.kind == "sampled":
        raise InputError(f"a measured profile has a width already; estimate with profile= {', '.join(EXCITED)}.")
    if profile.kind not in EXCITED:
        raise InputError(
            f"the width of profile.kind={profile.kind} is not estimated; choose one of {', '.join(EXCITED)}."
        )
    region = find_region(scan, intensity_scale(scan.data))
    y, mask = torch.from_numpy(scan.data[region.crop]), torch.from_numpy(region.mask)
    across = scan.slice_direction()
    first, second = (ANISOTROPY[across, along] for along in axis_directions(scan.affine) if along != across)
    known = (y, mask, scan.in_plane_mm, spacing_mm, partial(load_profile, profile), (first, second))
    if adversarial_seeds is None:
        return estimate_profile(*known)
    return estimate_adversarially(*known, seeds=adversarial_seeds)


def load_profile(config: ProfileConfig, thickness_mm: float) -> SliceProfile:
    """Profile of a configuration, scaled to ``thickness_mm`` unless it brings its own scale.

    Raises:
        InputError: if the .npy file is missing or not a profile.
    """
    if config.kind != "sampled":
        options = {"time_bandwidth": config.time_bandwidth} if config.kind == "slr" else {}
        return make_profile(config.kind, thickness_mm, **options)
    try:
        return sampled_profile(torch.from_numpy(np.load(str(config.path), allow_pickle=False)), thickness_mm)
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"profile={config.path} could not be used ({error}).") from error


def voxel_window(grid: ThroughPlaneGrid, slices: slice) -> slice:
    """Voxels (margins counted) that a range of slices covers."""
    per_slice = grid.spacing_mm / grid.voxel_mm
    low = math.floor(slices.start * per_slice) + grid.margin if slices.start else 0
    high = math.ceil(slices.stop * per_slice) + grid.margin if slices.stop < grid.slices else grid.total
    return slice(low, min(high, grid.total))


def volume_affine(
    scan: Scan, acquisition: Acquisition | None = None, region: Region | None = None, *, margins: bool = False
) -> np.ndarray:
    """``(4, 4)`` voxel-to-world in mm, the slice axis last.

    Args:
        scan: where it lies.
        acquisition: of whose voxels along the slice axis; None for the slices themselves.
        region: in-plane crop; None for all pixels.
        margins: whether the first voxel is that of the margin.
    """
    affine = scan.affine if acquisition is None else acquisition.grid.affine(scan.affine, scan.axis)
    affine = affine[:, [*(axis for axis in range(3) if axis != scan.axis), scan.axis, 3]]
    first = np.zeros(4)
    if region is not None:
        first[:2] = [part.start for part in region.crop]
    if margins and acquisition is not None:
        first[2] = -acquisition.grid.margin
    affine[:, 3] += affine @ first
    return affine


def blank_voxels(scan: Tensor, grid: ThroughPlaneGrid) -> Tensor:
    """Voxels ``(p, q, n)`` of a background that was set to zero, or of padding: they are left at zero.

    The nearest slice and :data:`BLANK_REACH` more on both sides must be exactly zero there, so that what the
    replacement changes beside the head is no part of it.

    Args:
        scan: ``(p, q, m)`` intensities as they were read.
        grid: slices and voxels.
    """
    empty = scan == 0
    far = empty.clone()
    for reach in range(1, BLANK_REACH + 1):
        far[..., reach:] &= empty[..., :-reach]
        far[..., :-reach] &= empty[..., reach:]
    return far[..., grid.crop(grid.nearest_slices)]


def hold(whole: Tensor, scan: Scan, acquisition: Acquisition) -> None:
    """Replace what the scan knows in ``whole`` ``(p, q, n)``, in place: exactly, in float64, a slab at a time."""
    for x, y in zip(whole, torch.from_numpy(scan.data), strict=True):
        x[:] = acquisition.written.replace(x.double(), y.double()).float()


def volume_mask(mask: Tensor, grid: ThroughPlaneGrid) -> Tensor:
    """Head mask of the voxels, ``(p, q, total)``, from that of the slices, widened by a slice and two pixels.

    Along the slice axis each column is head from its first to its last head slice, which keeps the number of
    different columns small.
    """
    wide = torch.nn.functional.max_pool2d(mask.movedim(-1, 0)[:, None].float(), 5, stride=1, padding=2)
    head = wide[:, 0].movedim(0, -1) > 0
    head = (head.cumsum(-1) > 0) & (head.flip(-1).cumsum(-1).flip(-1) > 0)
    head = torch.nn.functional.max_pool1d(head.float(), 3, stride=1, padding=1) > 0
    return head[..., grid.nearest_slices]
