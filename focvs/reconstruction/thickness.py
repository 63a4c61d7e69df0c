"""Slice profile and thickness: from a file, from what is stated, or from the scan itself."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from focvs.acquisition.adversarial import estimate_adversarially
from focvs.acquisition.estimation import ANISOTROPY, ProfileEstimate, estimate_profile
from focvs.acquisition.profile import EXCITED, SliceProfile, make_profile, sampled_profile
from focvs.errors import InputError, first_line
from focvs.run_config import ProfileConfig
from focvs.scan.nifti import axis_directions
from focvs.scan.scan import Scan
from focvs.scan.sidecar import Statement, Thickness, find_thickness, stated_profile
from focvs.scan.slices import find_region

MOST_PROFILE = 100_000  # numbers of a profile from a file
SAME_WIDTH = 0.01  # relative difference of a profile's width and a thickness that are one


def agree(thickness: Thickness, profile: SliceProfile, scan_path: Path) -> Thickness:
    """The thickness, replaced by the width of a profile that has one of its own, with warnings of contradictions.

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
    region = find_region(scan)
    y, mask = torch.from_numpy(scan.data[region.crop]), torch.from_numpy(region.mask)
    across = scan.slice_direction
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
        # mapped: a header that promises more than the file has is refused, and not allocated
        values = np.array(np.load(str(config.path), mmap_mode="r", allow_pickle=False))
        if values.size > MOST_PROFILE:
            raise ValueError(f"it has {values.size} numbers")
        return sampled_profile(torch.from_numpy(values), thickness_mm)
    except Exception as error:  # numpy reads headers as Python, and raises what its tokeniser does
        raise InputError(f"profile={config.path} could not be used ({first_line(error)}).") from error
