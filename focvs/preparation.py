"""What a run needs before it samples: device, forward model, where the head is, error spectrum, planes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.grid import ThroughPlaneGrid, make_grid
from focvs.acquisition.metadata import Thickness, find_thickness
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import SliceProfile, make_profile, sampled_profile
from focvs.config import Calibration, Planes, ProfileConfig, RunConfig, checkpoints_dir
from focvs.errors import InputError
from focvs.priors.calibration import BLOCK, ErrorTable, measure_errors
from focvs.priors.denoiser import Denoiser
from focvs.priors.planes import AlternatedPlanes, AveragedPlanes, PlaneDenoiser
from focvs.priors.pretrained import Prior
from focvs.sampling.consistency import RULES
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.sampling.samplers import SAMPLERS
from focvs.volume import Scan, head_mask

VOXEL_RANGE_MM = (0.59, 1.4)  # in-plane voxels the 2D prior was trained on, with a little slack
CALIBRATION_SLICES = 6
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


def schedule(config: RunConfig) -> Tensor:
    """Noise levels of a configuration.

    Raises:
        InputError: if they cannot be.
    """
    sampler = config.sampler
    steps = sampler.steps if config.steps is None else config.steps
    try:
        return karras_sigmas(steps, sampler.sigma_start, sampler.sigma_end, sampler.rho)
    except ValueError as error:
        raise InputError(str(error)) from error


def prior_folder(config: RunConfig) -> Path:
    """Folder of the prior: ``prior.path`` or the shipped one of that name."""
    return Path(config.prior.path) if config.prior.path else checkpoints_dir() / config.prior.name


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


def voxel_warnings(scan: Scan) -> list[str]:
    """Whether the in-plane voxels lie outside what the 2D prior was trained on."""
    low, high = VOXEL_RANGE_MM
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


def fuse_planes(
    denoise: Denoiser, scan: Scan, planes: Planes, sigmas: Tensor, window: slice, background: Tensor
) -> Denoiser:
    """The volume denoiser of ``planes`` from the 2D denoiser.

    Raises:
        InputError: if the plane asked for does not contain the slice axis.
    """
    names = scan.plane_names()
    members = [PlaneDenoiser(denoise, across, window, background) for across in (0, 1)]
    if planes is Planes.average:
        return AveragedPlanes(members)
    if planes is Planes.alternate:
        return AlternatedPlanes(members, sigmas)
    if planes.value not in names:
        raise InputError(
            f"planes={planes.value} does not contain the {scan.slice_direction()} slice axis; "
            f"choose average, alternate, {names[0]} or {names[1]}."
        )
    return members[names.index(planes.value)]


def calibrate(
    prior: Prior, y: Tensor, mask: Tensor, sigmas: Tensor, scan: Scan, source: Calibration, device: str
) -> tuple[ErrorTable, str]:
    """The prior's error spectrum at ``sigmas``: from the scan's own slices, or the table stored with the prior.

    Args:
        prior: the prior.
        y: ``(p, q, m)`` slices in prior units.
        mask: ``(p, q, m)`` head.
        sigmas: noise levels of the schedule.
        scan: for its in-plane voxel size.
        source: which to prefer; the other is used where it cannot be had.
        device: torch device.

    Raises:
        InputError: if neither is available.
    """
    table = prior.errors
    if source is Calibration.table and table is not None:
        return table, "the table stored with the prior"
    area = mask.flatten(0, 1).sum(0)
    chosen = area.argsort(descending=True)[: 2 * CALIBRATION_SLICES : 2]
    images, masks = y[..., chosen].movedim(-1, 0)[:, None], mask[..., chosen].movedim(-1, 0)[:, None]
    try:
        measured = measure_errors(
            prior.denoise, images.to(device), masks.to(device), sigmas, float(np.mean(scan.in_plane_mm))
        )
    except ValueError as error:
        if table is None:
            raise InputError(f"the prior cannot be calibrated: {error}") from error
        return table, f"the table stored with the prior ({error})"
    return measured, f"{len(chosen)} slices of the scan ({BLOCK}-pixel blocks)"
