"""What a run needs before it samples: device, prior, noise levels."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from focvs.config import checkpoints_dir
from focvs.errors import InputError, first_line
from focvs.priors.own_weights import resolve
from focvs.priors.precision import Precision, choose_precision
from focvs.priors.pretrained import load_prior
from focvs.priors.prior import Prior
from focvs.run_config import PriorConfig, RunConfig
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.scan.scan import Scan

SIGMA_START, SIGMA_START_CONDITIONED = 0.6, 1.0  # chosen on a validation head
SLACK = 0.02  # headers round voxel sizes: 0.599 mm is 0.6 mm


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


def steps_of(config: RunConfig) -> int | None:
    """``steps=``, or those of the sampler; None where a mean takes all its stages, as it does for samples around it."""
    around = config.sampler.name == "mean" and config.samples
    return config.sampler.steps if config.steps is None or around else config.steps


def levels_of(config: RunConfig) -> int:
    """Noise levels of samples around a mean: ``steps=``, or those of the sampler."""
    return config.sampler.levels if config.steps is None else config.steps


def schedule(config: RunConfig, *, conditioned: bool = False, stages: int | None = None) -> Tensor:
    """Noise levels of a configuration; of ``sampler=mean`` the same one for every stage.

    Args:
        config: steps, first and last level.
        conditioned: the prior is told of the scan, so that it can start from more noise where no level is given.
        stages: that a prior has to give a mean, where they are known.

    Raises:
        InputError: if they cannot be.
    """
    sampler = config.sampler
    steps = steps_of(config)
    if sampler.name == "mean":
        level = sampler.sigma_start or 0.0
        if (steps is not None and steps < 1) or not level > 0:
            raise InputError(
                f"steps={steps} with sampler.sigma_start={level:g} cannot be; sampler=mean needs a stage and "
                "a noise level above 0."
            )
        if stages is not None and steps is not None and steps > stages:
            raise InputError(f"steps={steps}, but prior={config.prior.name} has {stages} stages; leave steps= out.")
        return torch.full((steps or stages or 1,), level, dtype=torch.float64)
    try:
        if steps is None:
            raise ValueError(f"sampler={sampler.name} needs a number of steps.")
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
    prior = load_prior(resolve(config.path) if config.path else shipped, device, config.kind, config.prediction)
    if not config.told:
        if not prior.samples:
            raise InputError(
                f"prior.told=false is for priors that can be sampled, and prior={config.name} gives a mean of the scan "
                "that it is told of; add quality=samples."
            )
        prior = replace(prior, conditioned=False)
    return prior if config.scaling == "auto" else replace(prior, scaling=config.scaling)


def require_fit(prior: Prior, config: RunConfig) -> None:
    """Refuse a prior that cannot do what the sampler, the steps, the samples or a guide ask of it.

    Raises:
        InputError: one sentence.
    """
    mean = config.sampler.name == "mean"
    if mean and not prior.conditioned:
        raise InputError(
            f"sampler=mean needs a prior that is told of the scan, and prior={config.prior.name} is not; add "
            "quality=samples."
        )
    if config.sampler.mirrors > 1 and not prior.mirrored:
        raise InputError(
            f"sampler.mirrors={config.sampler.mirrors} needs a prior that was trained on mirrored images, and prior="
            f"{config.prior.name} does not say so; leave out quality=best."
        )
    if not mean and not prior.samples:
        raise InputError(
            f"prior={config.prior.name} gives a mean and cannot be sampled; add sampler=mean, or quality=samples for a "
            "prior that can."
        )
    if config.guide is not None and (not mean or prior.guided is None):
        raise InputError(
            f"guide={config.guide} needs a prior that has learnt to see one, by sampler=mean, and "
            f"prior={config.prior.name} with sampler={config.sampler.name} has not; leave out prior= and quality=."
        )
    if config.guide is not None and steps_of(config) not in (None, 1 + len(prior.stages)):
        raise InputError(
            f"guide={config.guide} is looked at by the last of {1 + len(prior.stages)} stages; leave out quality=fast, "
            "sampler.steps= and steps=."
        )
    if mean and config.samples and prior.residual is None:
        raise InputError(
            f"samples={config.samples} need a prior with samples around its mean, and prior={config.prior.name} has "
            "none; add quality=samples, or leave out samples=."
        )
    if mean and config.samples and steps_of(config) not in (None, 1 + len(prior.stages)):
        raise InputError(
            f"samples={config.samples} are drawn around the mean by all {1 + len(prior.stages)} stages; leave out "
            "quality=fast and sampler.steps=, or samples=."
        )
    schedule(config, conditioned=prior.conditioned, stages=1 + len(prior.stages))


def in_precision(prior: Prior, config: RunConfig, device: str, voxels: int | None = None) -> tuple[Prior, Precision]:
    """The prior in the precision that was asked for, or that a probe found best, compiled if asked for.

    Args:
        prior: in float32.
        config: precision, compile.
        device: torch device.
        voxels: of the volume that is restored, about.

    Raises:
        InputError: as :func:`focvs.priors.precision.choose_precision`.
    """
    patches = prior.patches(device)
    precision = choose_precision(config.precision, device, partial(prior.evaluate, patches), patches.numel(), voxels)
    chosen = prior.at(precision.dtype, compiled=config.compile)
    if config.compile:
        try:
            for some in (patches, patches[..., :-6, :-10]):  # sizes vary in a run, and are no multiples of any number
                chosen.evaluate(some, precision.dtype)
        except Exception as error:  # of many kinds: no compiler, an operation it does not know
            raise InputError(f"compile=true failed ({first_line(error)}); leave it out.") from error
    return chosen, precision


def restored_voxels(scan: Scan) -> int:
    """About how many voxels a restored scan has: isotropic ones."""
    return round(scan.data.size * max(1.0, scan.spacing_mm / min(scan.in_plane_mm)))


def voxel_warnings(scan: Scan, prior: Prior) -> list[str]:
    """Whether the in-plane voxels lie outside what the prior was trained on."""
    low, high = prior.voxel_range_mm or (0.0, math.inf)
    if (1 - SLACK) * low <= min(scan.in_plane_mm) and max(scan.in_plane_mm) <= (1 + SLACK) * high:
        return []
    sizes = " x ".join(f"{v:.3g}" for v in scan.in_plane_mm)
    return [
        f"in-plane voxels of {sizes} mm lie outside the {low:g}-{high:g} mm the prior was trained on; "
        "expect less than its usual quality."
    ]
