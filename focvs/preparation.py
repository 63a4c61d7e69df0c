"""What a run needs before it samples: device, noise levels, prior, error spectrum, planes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.degradation import make_degradation
from focvs.acquisition.profile import SHAPES
from focvs.config import Calibration, Planes, PriorConfig, RunConfig, checkpoints_dir, parse_auto
from focvs.errors import InputError
from focvs.evaluation.baselines import METHODS
from focvs.forward_model import Acquisition
from focvs.priors.calibration import (
    BLOCK,
    ErrorTable,
    measure_errors,
    measure_turned_errors,
    measure_volume_errors,
    wiener_errors,
)
from focvs.priors.denoiser import Denoiser
from focvs.priors.networks import ScanCondition
from focvs.priors.planes import AlternatedPlanes, AveragedPlanes, PlaneDenoiser, mirrored_in_turn
from focvs.priors.pretrained import Prior, load_prior
from focvs.priors.volumetric import Orientation, VolumeDenoiser, turned_in_turn
from focvs.sampling.consistency import RULES, SPECTRAL_RULES
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.sampling.samplers import SAMPLERS
from focvs.slices import Slices
from focvs.volume import Scan, bounding_box

CALIBRATION_SLICES = 6
CALIBRATION_EDGE = 96  # voxels
SIGMA_START, SIGMA_START_CONDITIONED = 0.6, 1.0  # chosen on a validation head
FALLBACK = "a Wiener filter of the scan's slices, as the prior has no table (focvs calibrate makes one)"


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
        ("profile.kind", config.profile.kind, (*SHAPES, "sampled")),
        ("method", config.method, ("focvs", *METHODS)),
        ("align", config.align, ("rigid", "headers")),
        ("rician_bias", config.rician_bias, ("auto", "off")),
    )
    for key, value, accepted in choices:
        if value not in accepted:
            raise InputError(f"{key}={value} is not known; choose one of {', '.join(accepted)}.")
    ranges = (
        ("samples", config.samples, config.samples >= 1, "at least 1"),
        ("batch", config.batch, config.batch >= 1, "at least 1"),
        ("seed", config.seed, config.seed >= 0, "at least 0"),
        ("baseline.tv_weight", config.baseline.tv_weight, config.baseline.tv_weight > 0, "above 0"),
        ("baseline.tv_iterations", config.baseline.tv_iterations, config.baseline.tv_iterations >= 1, "at least 1"),
        ("baseline.training_steps", config.baseline.training_steps, config.baseline.training_steps >= 2, "at least 2"),
        ("sampler.rho", config.sampler.rho, config.sampler.rho > 0, "above 0"),
        ("sampler.spread", config.sampler.spread, 0 <= config.sampler.spread <= 1, "between 0 and 1"),
        ("sampler.eta", config.sampler.eta, 0 <= config.sampler.eta <= 1, "between 0 and 1"),
        ("sampler.guidance", config.sampler.guidance, config.sampler.guidance > 0, "above 0"),
        ("consistency.air", config.consistency.air, 0 < config.consistency.air <= 1, "above 0 and at most 1"),
        ("consistency.strength", config.consistency.strength, config.consistency.strength > 0, "above 0"),
        ("consistency.eta", config.consistency.eta, 0 <= config.consistency.eta <= 1, "between 0 and 1"),
        ("profile.time_bandwidth", config.profile.time_bandwidth, config.profile.time_bandwidth >= 2, "at least 2"),
    )
    for key, number, good, needed in ranges:
        if not good:
            raise InputError(f"{key}={number:g} must be {needed}.")
    if config.consistency.rule in SPECTRAL_RULES and config.sampler.name != "ddpm":
        raise InputError(
            f"consistency={config.consistency.rule} is an ancestral sampler and cannot go with "
            f"sampler={config.sampler.name}; add sampler=ddpm."
        )
    if config.sampler.name == "dps" and config.consistency.rule != "none":
        raise InputError("sampler=dps follows a gradient where others replace; add consistency=none.")
    if config.sampler.name == "dps" and config.stacks:
        raise InputError("sampler=dps restores one stack; leave it out for several.")
    for name in config.stacks:
        if not Path(name).exists():
            raise InputError(f"{name} does not exist; give further stacks as .nii or .nii.gz files.")
        if Path(name).is_dir() and config.output_dir is None:
            raise InputError(
                f"{name} is a folder of DICOM files: give an output folder as well, its NIfTI is left there."
            )
    if config.method != "focvs" and config.stacks:
        raise InputError(f"method={config.method} restores one stack; leave it out for several.")
    if config.consistency.rule in SPECTRAL_RULES and config.stacks:
        raise InputError(
            f"consistency={config.consistency.rule} restores one stack; take calibrated, diffpir or ddnm for several."
        )
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
        InputError: for an unknown scaling, one that cannot be, or a foreign kind without a path.
    """
    if config.scaling not in ("auto", "percentile", "maximum"):
        raise InputError(f"prior.scaling={config.scaling} is not known; choose auto, percentile or maximum.")
    if config.kind == "focvs" and config.scaling == "maximum":
        raise InputError("priors of focvs have the 99.5th percentile at +1; leave out prior.scaling=maximum.")
    shipped = checkpoints_dir() / config.name
    if config.path is None and not shipped.is_dir():
        raise InputError(f"prior={config.name} needs the checkpoint's place; give prior.path=.")
    prior = load_prior(config.path or shipped, device, config.kind, config.prediction)
    return prior if config.scaling == "auto" else replace(prior, scaling=config.scaling)


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
        whole = VolumeDenoiser(
            network, orientation, background, prior.shape, patch, config.prior.overlap, prior.multiple, acquisition
        )
        return AlternatedPlanes(turned_in_turn(whole), sigmas) if prior.mirrored else whole
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
    background: Tensor,
    sigmas: Tensor,
    scan: Scan,
    acquisition: Acquisition,
    config: RunConfig,
    device: str,
) -> tuple[ErrorTable, str]:
    """The prior's error spectrum at ``sigmas``: from the scan itself, or the table stored with the prior.

    A 2D prior is measured on the scan's slices, a 3D one on a block of the interpolated scan along its in-plane axes; a
    conditioned one sees them through the scan's own acquisition turned in-plane. The block has no detail along the
    slice axis, so that its errors are somewhat too small (told of 4 mm slices of a kept-out head: 0.08 at the highest
    noise level, where 0.11 is true). Therefore an unconditional 3D prior that has a table, of isotropic volumes, always
    takes that. One without a table that no block can measure, as its field of view is fixed or the head too small, has
    the spectrum of a Wiener filter of the scan's slices.

    Args:
        prior: the prior.
        network: its denoiser, in the units of the volume.
        slices: of the scan.
        background: ``(p, q, total)`` the interpolated scan.
        sigmas: noise levels of the schedule.
        scan: for its in-plane voxel size and its orientation.
        acquisition: for its profile and grid.
        config: which source to prefer, the other is used where it cannot be had; patch and overlap of a 3D prior.
        device: torch device.

    Raises:
        InputError: if no source is available.
    """
    table, volumetric, wanted = prior.errors, prior.dimensions == 3, config.consistency.calibration
    if table is not None and (wanted is Calibration.table or (volumetric and not prior.conditioned)):
        return table, "the table stored with the prior"
    chosen = slices.largest()[: 2 * CALIBRATION_SLICES : 2]
    images, masks = (v.to(device) for v in slices.images(chosen))
    pixel_mm = float(np.mean(scan.in_plane_mm))
    scan_of = partial(turned_scan, acquisition, pixel_mm, slices.noise_sigma)
    patches = config.prior.patch, config.prior.overlap, prior.multiple

    def told(truth: Tensor) -> Denoiser:
        of = scan_of(truth[None, None])
        numbers = float(of.thickness_px), float(of.spacing_px), float(of.noise)
        return VolumeDenoiser(network, Orientation("RAS"), of.image[0, 0], None, *patches, numbers)

    try:
        if not volumetric:
            turned = scan_of if prior.conditioned else None
            measured = measure_errors(network, images, masks, sigmas, pixel_mm, scan_of=turned)
            return measured, f"{len(chosen)} slices of the scan ({BLOCK}-pixel blocks)"
        if prior.shape is None:
            volume, mask = (v.to(device) for v in _block(slices, background, acquisition))
            if prior.conditioned:
                measured = measure_turned_errors(told, volume, mask, sigmas, pixel_mm)
            else:
                orientation = Orientation(scan.orientation(), prior.axes or scan.orientation())
                whole = VolumeDenoiser(network, orientation, None, None, *patches)
                measured = measure_volume_errors(whole, volume, mask, sigmas, pixel_mm, axes=(0, 1))
            size = " x ".join(map(str, volume.shape))
            return measured, f"{size} voxels of the interpolated scan ({BLOCK}-voxel blocks)"
    except ValueError as error:
        if table is not None:
            return table, f"the table stored with the prior ({error})"
        if not volumetric:
            raise InputError(f"the prior cannot be calibrated: {error}") from error
    try:
        return wiener_errors(images, masks, sigmas, pixel_mm), FALLBACK
    except ValueError as error:
        raise InputError(f"the prior cannot be calibrated: {error}") from error


def _block(slices: Slices, background: Tensor, acquisition: Acquisition) -> tuple[Tensor, Tensor]:
    """The middle of the interpolated scan ``background`` ``(p, q, total)``, and where in it there is head."""
    grid = acquisition.grid
    mask = grid.crop(slices.mask[..., grid.nearest_slices])
    block = middle_block(mask.numpy())
    return grid.crop(background)[block], mask[block]


def middle_block(mask: np.ndarray) -> tuple[slice, ...]:
    """The middle of the head's box ``mask`` ``(p, q, n)``, edges of at most :data:`CALIBRATION_EDGE` voxels."""
    sides = []
    for side in bounding_box(mask, 0):
        edge = min(CALIBRATION_EDGE, side.stop - side.start)
        start = (side.start + side.stop - edge) // 2
        sides.append(slice(start, start + edge))
    return tuple(sides)


def turned_scan(acquisition: Acquisition, pixel_mm: float, noise_sigma: float, images: Tensor) -> ScanCondition:
    """What a conditioned prior would be told had ``images`` ``(k, 1, ..., n)`` been acquired along their last axis."""
    profile = acquisition.profile.scaled(1 / pixel_mm)
    degrade = make_degradation(profile, acquisition.grid.spacing_mm / pixel_mm, images.shape[-1])
    noise = torch.randn(*images.shape[:-1], len(degrade.slices), generator=torch.Generator().manual_seed(0))
    return ScanCondition.simulated(degrade, images, noise_sigma, noise.to(images))


def conditioning_numbers(acquisition: Acquisition, noise_sigma: float) -> tuple[float, float, float]:
    """Thickness and spacing in voxels, noise in prior units: what a conditioned prior is told besides the image."""
    grid = acquisition.grid
    return acquisition.profile.fwhm_mm / grid.voxel_mm, grid.spacing_mm / grid.voxel_mm, noise_sigma
