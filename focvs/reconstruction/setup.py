"""What a run needs before it samples: device, prior, noise levels, the denoiser of a volume."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from focvs.config import (
    Planes,
    PriorConfig,
    RunConfig,
    checkpoints_dir,
)
from focvs.errors import InputError
from focvs.priors.denoiser import Denoiser
from focvs.priors.planes import AlternatedPlanes, AveragedPlanes, PlaneDenoiser, mirrored_in_turn
from focvs.priors.pretrained import Prior, load_prior
from focvs.priors.volumetric import Orientation, VolumeDenoiser, turned_in_turn
from focvs.reconstruction.forward_model import Acquisition
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.scan.scan import Scan

SIGMA_START, SIGMA_START_CONDITIONED = 0.6, 1.0  # chosen on a validation head


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


def conditioning_numbers(acquisition: Acquisition, noise_sigma: float) -> tuple[float, float, float]:
    """Thickness and spacing in voxels, noise in prior units: what a conditioned prior is told besides the image."""
    grid = acquisition.grid
    return acquisition.profile.fwhm_mm / grid.voxel_mm, grid.spacing_mm / grid.voxel_mm, noise_sigma
