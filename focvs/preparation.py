"""What a run needs before it samples: device, forward model, where the head is, error spectrum, planes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.degradation import make_degradation
from focvs.acquisition.estimation import ProfileEstimate, estimate_profile
from focvs.acquisition.grid import ThroughPlaneGrid, make_grid
from focvs.acquisition.metadata import Thickness, find_thickness
from focvs.acquisition.noise import estimate_noise
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import SliceProfile, make_profile, sampled_profile
from focvs.config import Calibration, Planes, PriorConfig, ProfileConfig, RunConfig, checkpoints_dir
from focvs.errors import InputError
from focvs.priors.calibration import BLOCK, ErrorTable, measure_errors, wiener_errors
from focvs.priors.denoiser import Denoiser
from focvs.priors.networks import ScanCondition
from focvs.priors.planes import AlternatedPlanes, AveragedPlanes, PlaneDenoiser, mirrored_in_turn
from focvs.priors.pretrained import Prior, load_prior
from focvs.priors.volumetric import Orientation, VolumeDenoiser
from focvs.sampling.consistency import RULES
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.sampling.samplers import SAMPLERS
from focvs.volume import Scan, head_mask, intensity_scale

CALIBRATION_SLICES = 6
SIGMA_START, SIGMA_START_CONDITIONED = 0.6, 1.0  # chosen on a validation head
FALLBACK = "a Wiener filter of the scan's slices, as the prior has no table (focvs calibrate makes one)"
CROP_MARGIN = 6  # voxels kept around the head


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
            "condition_number": self.written.condition_number,
            "slices": self.grid.slices,
            "voxels": self.grid.voxels,
            "voxel_mm": self.grid.voxel_mm,
        }


@dataclass(frozen=True, eq=False)
class Region:
    """The part of a scan that holds the head: in-plane crop, range of slices, mask ``(p, q, m)`` of the crop."""

    crop: tuple[slice, slice]
    slices: slice
    mask: np.ndarray


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices of a scan as the prior works on them.

    Attributes:
        y: ``(p, q, m)`` in prior units, cropped to the head's box.
        mask: ``(p, q, m)`` head.
        region: the crop.
        scale: 99.5th percentile, the intensity that is +1 in prior units.
        noise_sigma: standard deviation of the noise, prior units.
    """

    y: Tensor
    mask: Tensor
    region: Region
    scale: float
    noise_sigma: float

    def largest(self, fraction: float = 0.0) -> Tensor:
        """Indices of the slices with the most head, from the largest to ``fraction`` of its area."""
        area = self.mask.flatten(0, 1).sum(0)
        order = area.argsort(descending=True)
        return order[area[order] > fraction * area.max()]

    def images(self, chosen: Tensor) -> tuple[Tensor, Tensor]:
        """The chosen slices and their masks, ``(k, 1, p, q)``."""
        images, masks = (v[..., chosen].movedim(-1, 0)[:, None].contiguous() for v in (self.y, self.mask))
        return images, masks


def choose_device(name: str) -> str:
    """Resolve ``auto`` and check that the device exists.

    Raises:
        InputError: for an unknown or absent device.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device={name} is not usable here ({reason}); use auto, cpu, cuda, cuda:1 or mps.") from error
    return name


def check_options(config: RunConfig) -> None:
    """Refuse options that no scan could be restored with.

    Raises:
        InputError: one sentence about the first of them.
    """
    choices = (
        ("sampler.name", config.sampler.name, tuple(SAMPLERS)),
        ("consistency.rule", config.consistency.rule, RULES),
        ("profile.kind", config.profile.kind, ("gaussian", "rect", "slr", "sampled")),
    )
    for key, value, accepted in choices:
        if value not in accepted:
            raise InputError(f"{key}={value} is not known; choose one of {', '.join(accepted)}.")
    ranges = (
        ("samples", config.samples, config.samples >= 1, "at least 1"),
        ("batch", config.batch, config.batch >= 1, "at least 1"),
        ("seed", config.seed, config.seed >= 0, "at least 0"),
        ("sampler.rho", config.sampler.rho, config.sampler.rho > 0, "above 0"),
        ("sampler.spread", config.sampler.spread, 0 <= config.sampler.spread <= 1, "between 0 and 1"),
        ("sampler.eta", config.sampler.eta, 0 <= config.sampler.eta <= 1, "between 0 and 1"),
        ("consistency.air", config.consistency.air, 0 < config.consistency.air <= 1, "above 0 and at most 1"),
        ("profile.time_bandwidth", config.profile.time_bandwidth, config.profile.time_bandwidth >= 2, "at least 2"),
    )
    for key, number, good, needed in ranges:
        if not good:
            raise InputError(f"{key}={number:g} must be {needed}.")
    schedule(config)
    parse_auto("voxel", config.voxel)
    parse_auto("noise", config.noise)


def schedule(config: RunConfig, *, conditioned: bool = False) -> Tensor:
    """Noise levels of a configuration.

    Args:
        config: steps, first and last level.
        conditioned: the prior is told of the scan, so that it can start from more noise where no level is given.

    Raises:
        InputError: if they cannot be.
    """
    sampler = config.sampler
    steps = sampler.steps if config.steps is None else config.steps
    try:
        start = sampler.sigma_start
        if start is None:
            start = SIGMA_START_CONDITIONED if conditioned else SIGMA_START
        return karras_sigmas(steps, start, sampler.sigma_end, sampler.rho)
    except ValueError as error:
        raise InputError(str(error)) from error


def open_prior(config: PriorConfig, device: str) -> Prior:
    """The prior of ``prior.path``, or the shipped one of that name.

    Raises:
        PriorError: if it cannot be loaded.
        InputError: for an unknown scaling, or a foreign kind without a path.
    """
    if config.scaling not in ("auto", "percentile", "maximum"):
        raise InputError(f"prior.scaling={config.scaling} is not known; choose auto, percentile or maximum.")
    shipped = checkpoints_dir() / config.name
    if config.path is None and not shipped.is_dir():
        raise InputError(f"prior={config.name} needs the checkpoint's place; give prior.path=.")
    prior = load_prior(config.path or shipped, device, config.kind, config.prediction)
    return prior if config.scaling == "auto" else replace(prior, scaling=config.scaling)


def model_acquisition(scan: Scan, config: RunConfig) -> Acquisition:
    """Thickness, profile, grid and operators of a scan.

    Raises:
        InputError: for numbers that cannot be.
    """
    spacing_mm = scan.spacing_mm if config.spacing is None else config.spacing
    if not 0 < spacing_mm < math.inf:
        raise InputError(f"spacing={spacing_mm:g} mm must be above 0; leave it out to take it from the geometry.")
    given_voxel_mm = parse_auto("voxel", config.voxel)
    voxel_mm = min(scan.in_plane_mm) if given_voxel_mm is None else given_voxel_mm
    if not 0 < voxel_mm < spacing_mm:
        raise InputError(f"voxel={voxel_mm:.4g} mm must be above 0 and below the slice spacing of {spacing_mm:.4g} mm.")
    if config.thickness == "estimate":
        thickness = estimate_thickness(scan, spacing_mm, config.profile)
    else:
        thickness = find_thickness(scan.path, spacing_mm, config.thickness)
    profile = load_profile(config.profile, thickness.thickness_mm)
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
            f"the JSON beside the scan says a thickness of {declared.thickness_mm:.3g} mm, the scan itself "
            f"{estimate.low_mm:.2g} to {estimate.high_mm:.2g} mm; the estimate was used.",
        )
    interval = (estimate.low_mm, estimate.high_mm)
    return Thickness(estimate.profile.fwhm_mm, "estimate", warnings, interval)


def profile_of_scan(scan: Scan, spacing_mm: float, profile: ProfileConfig) -> ProfileEstimate:
    """:func:`focvs.acquisition.estimation.estimate_profile` inside the head of a scan.

    Raises:
        InputError: for a profile that brings its own width.
        ValueError: if the scan does not tell.
    """
    if profile.kind == "sampled":
        raise InputError("a measured profile has a width already; estimate with profile=gaussian, rect or slr.")
    region = find_region(scan, intensity_scale(scan.data))
    y, mask = torch.from_numpy(scan.data[region.crop]), torch.from_numpy(region.mask)
    return estimate_profile(y, mask, scan.in_plane_mm, spacing_mm, profile.kind)


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


def parse_auto(name: str, value: Any) -> float | None:
    """None for ``auto``, else a finite number of at least 0.

    Raises:
        InputError: otherwise.
    """
    if value == "auto":
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise InputError(f"{name}={value} is not a number; give auto or a number of at least 0.")
    return number


def voxel_warnings(scan: Scan, prior: Prior) -> list[str]:
    """Whether the in-plane voxels lie outside what the prior was trained on."""
    low, high = prior.voxel_range_mm or (0.0, math.inf)
    if low <= min(scan.in_plane_mm) and max(scan.in_plane_mm) <= high:
        return []
    sizes = " x ".join(f"{v:.3g}" for v in scan.in_plane_mm)
    return [
        f"in-plane voxels of {sizes} mm lie outside the {low:g}-{high:g} mm the prior was trained on; "
        "expect less than its usual quality."
    ]


def find_region(scan: Scan, scale: float) -> Region:
    """Where the head is: everything outside is interpolated and replaced, not sampled."""
    mask = head_mask(scan.data, scale)
    spans = []
    for axis in range(3):
        used = np.flatnonzero(mask.any(axis=tuple(i for i in range(3) if i != axis)))
        margin = CROP_MARGIN if axis < 2 else 1
        spans.append(slice(max(0, int(used[0]) - margin), min(mask.shape[axis], int(used[-1]) + 1 + margin)))
    return Region((spans[0], spans[1]), spans[2], mask[spans[0], spans[1]])


def take_slices(scan: Scan, config: RunConfig) -> Slices:
    """Scale, crop and mask a scan, and find its noise."""
    scale = intensity_scale(scan.data)
    region = find_region(scan, scale)
    mask = torch.from_numpy(region.mask)
    y = torch.from_numpy(scan.data[region.crop]) * (2 / scale) - 1
    given_noise = parse_auto("noise", config.noise)
    noise_sigma = estimate_noise(y, mask) if given_noise is None else given_noise * 2 / scale
    return Slices(y, mask, region, scale, noise_sigma)


def voxel_window(grid: ThroughPlaneGrid, slices: slice) -> slice:
    """Voxels (margins counted) that a range of slices covers."""
    per_slice = grid.spacing_mm / grid.voxel_mm
    low = math.floor(slices.start * per_slice) + grid.margin if slices.start else 0
    high = math.ceil(slices.stop * per_slice) + grid.margin if slices.stop < grid.slices else grid.total
    return slice(low, min(high, grid.total))


def volume_mask(mask: Tensor, grid: ThroughPlaneGrid) -> Tensor:
    """Head mask of the voxels, ``(p, q, total)``, from that of the slices, widened by a slice and two pixels.

    Along the slice axis each column is head from its first to its last head slice, which keeps the number of
    different columns small.
    """
    wide = torch.nn.functional.max_pool2d(mask.movedim(-1, 0)[:, None].float(), 5, stride=1, padding=2)
    head = wide[:, 0].movedim(0, -1) > 0
    head = (head.cumsum(-1) > 0) & (head.flip(-1).cumsum(-1).flip(-1) > 0)
    head = torch.nn.functional.max_pool1d(head.float(), 3, stride=1, padding=1) > 0
    edges = grid.voxel_edges_mm
    centres = (edges[1:] + edges[:-1]) / 2
    nearest = (centres / grid.spacing_mm + (grid.slices - 1) / 2).round().long().clamp(0, grid.slices - 1)
    return head[..., nearest]


def volume_denoiser(
    prior: Prior,
    network: Callable[..., Tensor],
    scan: Scan,
    config: RunConfig,
    sigmas: Tensor,
    window: slice,
    background: Tensor,
    told: tuple[float, float, float],
) -> Denoiser:
    """The denoiser of ``(b, p, q, n)`` volumes: a 3D prior, or a 2D one on ``config.planes``.

    Args:
        prior: the prior.
        network: its denoiser, in the units of the volume.
        scan: for its orientation.
        config: planes, patch and overlap.
        sigmas: the schedule.
        window: voxels of the last axis that hold head.
        background: ``(p, q, n)`` the interpolated scan.
        told: thickness and spacing in voxels and noise, for a conditioned prior.

    Raises:
        InputError: if the plane asked for does not contain the slice axis.
    """
    acquisition = told if prior.conditioned else None
    if prior.dimensions == 3:
        patch = None if config.prior.patch is None else tuple(config.prior.patch)
        if (patch is not None and (len(patch) != 3 or min(patch) < 1)) or not 0 <= config.prior.overlap < 1:
            raise InputError(
                f"prior.patch={config.prior.patch} with prior.overlap={config.prior.overlap:g} cannot be; give three "
                "positive numbers of voxels and an overlap of at least 0 and below 1."
            )
        orientation = Orientation(scan.orientation(), prior.axes or scan.orientation())
        return VolumeDenoiser(
            network, orientation, background, prior.shape, patch, config.prior.overlap, prior.multiple, acquisition
        )
    names, planes = scan.plane_names(), config.planes
    members = [PlaneDenoiser(network, across, window, background, acquisition, slab=prior.slab) for across in (0, 1)]
    if planes is Planes.average:
        return AveragedPlanes(members)
    if planes is Planes.alternate:
        return AlternatedPlanes(mirrored_in_turn(members) if prior.mirrored else members, sigmas)
    if planes.value not in names:
        raise InputError(
            f"planes={planes.value} does not contain the {scan.slice_direction()} slice axis; "
            f"choose average, alternate, {names[0]} or {names[1]}."
        )
    return members[names.index(planes.value)]


def calibrate(
    prior: Prior,
    network: Callable[..., Tensor],
    slices: Slices,
    sigmas: Tensor,
    scan: Scan,
    acquisition: Acquisition,
    source: Calibration,
    device: str,
) -> tuple[ErrorTable, str]:
    """The prior's error spectrum at ``sigmas``: from the scan's own slices, or the table stored with the prior.

    A 3D prior takes its table, or else the spectrum of a Wiener filter of the scan's slices. A conditioned one is
    measured on the scan's slices seen through the scan's own acquisition turned in-plane.

    Args:
        prior: the prior.
        network: its denoiser, in the units of the volume.
        slices: of the scan.
        sigmas: noise levels of the schedule.
        scan: for its in-plane voxel size.
        acquisition: for its profile and spacing.
        source: which to prefer; the other is used where it cannot be had.
        device: torch device.

    Raises:
        InputError: if neither is available.
    """
    table = prior.errors
    if table is not None and (source is Calibration.table or prior.dimensions == 3):
        return table, "the table stored with the prior"
    chosen = slices.largest()[: 2 * CALIBRATION_SLICES : 2]
    images, masks = (v.to(device) for v in slices.images(chosen))
    pixel_mm = float(np.mean(scan.in_plane_mm))
    scan_of = partial(turned_scan, acquisition, pixel_mm, slices.noise_sigma) if prior.conditioned else None
    try:
        if prior.dimensions == 3:
            return wiener_errors(images, masks, sigmas, pixel_mm), FALLBACK
        measured = measure_errors(network, images, masks, sigmas, pixel_mm, scan_of=scan_of)
    except ValueError as error:
        if table is None:
            raise InputError(f"the prior cannot be calibrated: {error}") from error
        return table, f"the table stored with the prior ({error})"
    return measured, f"{len(chosen)} slices of the scan ({BLOCK}-pixel blocks)"


def turned_scan(acquisition: Acquisition, pixel_mm: float, noise_sigma: float, images: Tensor) -> ScanCondition:
    """What a conditioned prior would be told had ``images`` ``(k, 1, h, w)`` been acquired along their last axis."""
    profile = acquisition.profile.scaled(1 / pixel_mm)
    degrade = make_degradation(profile, acquisition.grid.spacing_mm / pixel_mm, images.shape[-1])
    noise = torch.randn(*images.shape[:-1], len(degrade.slices), generator=torch.Generator().manual_seed(0))
    return ScanCondition.simulated(degrade, images, noise_sigma, noise.to(images))


def conditioning_numbers(acquisition: Acquisition, noise_sigma: float) -> tuple[float, float, float]:
    """Thickness and spacing in voxels, noise in prior units: what a conditioned prior is told besides the image."""
    grid = acquisition.grid
    return acquisition.profile.fwhm_mm / grid.voxel_mm, grid.spacing_mm / grid.voxel_mm, noise_sigma
