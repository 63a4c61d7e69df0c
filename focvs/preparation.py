"""What a run needs before it samples: device, noise levels, prior, error spectrum, planes, consistency rule."""

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
from focvs.acquisition.interpolation import OVERLAP_CONDITION
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import EXCITED, SHAPES
from focvs.config import Calibration, ConsistencyConfig, Planes, PriorConfig, RunConfig, checkpoints_dir, parse_auto
from focvs.errors import InputError
from focvs.evaluation.baselines import METHODS
from focvs.forward_model import Acquisition
from focvs.priors.calibration import BLOCK, ErrorTable, measure_errors, wiener_errors
from focvs.priors.denoiser import Denoiser
from focvs.priors.intervals import Interval
from focvs.priors.networks import ScanCondition
from focvs.priors.planes import AlternatedPlanes, AveragedPlanes, PlaneDenoiser, mirrored_in_turn
from focvs.priors.pretrained import Prior, load_prior
from focvs.priors.volumetric import Orientation, VolumeDenoiser
from focvs.sampling.consistency import RULES, SPECTRAL_RULES, Consistency, Support
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.sampling.samplers import SAMPLERS, ReplacementRule
from focvs.sampling.spectral import DDRM, DDNMPlus
from focvs.sampling.statistics import normal_quantile
from focvs.slices import Slices
from focvs.volume import Scan

CALIBRATION_SLICES = 6
INTERVAL = 0.9  # of the head's voxels between q05 and q95
SIGMA_START, SIGMA_START_CONDITIONED = 0.6, 1.0  # chosen on a validation head
MUCH_NOISE = 0.025  # of the white level, above which it is worth saying that the result has it too
MOST_NOISE = 0.04  # above which the result is better without it: 5 % cost 1 dB, 2.5 % 0.2 dB, on a FLAIR of 4 mm
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
        InputError: for an unknown scaling, or a foreign kind without a path.
    """
    if config.scaling not in ("auto", "percentile", "maximum"):
        raise InputError(f"prior.scaling={config.scaling} is not known; choose auto, percentile or maximum.")
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


def choose_rule(config: RunConfig, condition: float, noise_sigma: float, stacks: int = 0) -> tuple[str, bool, str]:
    """The consistency rule, whether the last exact replacement is made, and why.

    Args:
        config: what was asked for.
        condition: condition number of the operator.
        noise_sigma: noise of the written slices in prior units.
        stacks: how many there are besides the first; together they are reproduced whatever their noise.
    """
    rule, asked = config.consistency.rule, config.final_replacement
    noise = f"noise {50 * noise_sigma:.2g} % of the white level"
    if rule == "none":
        return rule, False, f"none, as asked: nothing is replaced ({noise})"
    if condition > OVERLAP_CONDITION:
        why = f"slices overlap (condition number {condition:.3g}; {noise}), so exact replacement would amplify noise"
        if rule == "ddnm":
            return "calibrated", False, f"{why}: the calibrated rule without a last exact replacement was used"
        return rule, False, f"{why}: the last exact replacement was left out"
    apart = f"the slices hardly overlap (condition number {condition:.3g}; {noise})"
    if asked is False:
        return rule, False, f"{rule}, without a last exact replacement, as asked: {apart}"
    if asked == "auto" and rule != "ddnm" and not stacks and noise_sigma / 2 > MOST_NOISE:
        why = f"{noise} is more than the {100 * MOST_NOISE:.2g} % an exact replacement may carry over"
        end = "without a last one the result reproduces the scan to within its noise; final_replacement=true makes it"
        return rule, False, f"{rule}: {why}; {end}"
    return rule, True, f"{rule}, with a last exact replacement: {apart}"


def carried_over(noise: float) -> list[str]:
    """A sentence where the last exact replacement costs more than it is worth to many.

    Args:
        noise: standard deviation of the written slices as a fraction of the white level.
    """
    if noise <= MUCH_NOISE:
        return []
    return [
        f"the scan's noise, {100 * noise:.2g} % of the white level, is carried over by the last exact "
        "replacement; final_replacement=false leaves it out, and reproduces the scan to within its noise."
    ]


def make_rule(
    rule: str,
    config: ConsistencyConfig,
    operator: ThroughPlaneOperator,
    sigmas: Tensor,
    noise_sigma: float,
    spectra: Tensor | None,
    support: Support | None,
) -> ReplacementRule:
    """The consistency rule named ``rule``; the arguments are those of the rules themselves."""
    levels = sigmas.tolist()
    if rule == "ddnm_plus":
        return DDNMPlus(operator, levels, noise_sigma)
    if rule == "ddrm":
        return DDRM(operator, levels, noise_sigma, config.eta)
    return Consistency(rule, operator, spectra, noise_sigma, support, levels, config.strength)


def interval_settings(config: RunConfig, rule: str, exact: bool) -> dict[str, str | float | bool]:
    """What decides how far samples are from the truth: intervals hold for runs that agree in all of it.

    Args:
        config: what was asked for.
        rule: consistency rule that was used.
        exact: whether the last exact replacement was made.
    """
    sampler = config.sampler
    return {
        "sampler": sampler.name,
        "steps": sampler.steps if config.steps is None else config.steps,
        "sampler.spread": sampler.spread if sampler.name == "resample" else 0.0,
        "sampler.sigma_start": "auto" if sampler.sigma_start is None else sampler.sigma_start,
        "sampler.sigma_end": sampler.sigma_end,
        "consistency": rule,
        "planes": config.planes.value,
        "adapt": config.adapt,
        "final_replacement": exact,
    }


def choose_interval(
    config: RunConfig, prior: Prior, rule: str, exact: bool, thickness_mm: float, spacing_mm: float, stacks: int
) -> Interval | None:
    """How many predictive deviations the prior errs by, which decides on q05 and q95, and on what grounds.

    Args:
        config: what was asked for.
        prior: with its table of intervals, if it has one.
        rule: consistency rule that was used.
        exact: whether the last exact replacement was made.
        thickness_mm: FWHM of the slices.
        spacing_mm: of the slices.
        stacks: how many there are besides the first.

    Returns:
        None for a single sample, which has no spread.
    """
    table = prior.intervals
    if config.samples < 2:
        return None
    normal = Interval(INTERVAL, normal_quantile(INTERVAL), False, "")
    if table is None:
        return replace(normal, reason="no intervals were measured for this prior")
    if table.weights != prior.sha256:
        return replace(normal, reason="intervals were measured for other weights")
    if stacks:
        return replace(normal, reason="intervals were measured for single stacks only")
    used = interval_settings(config, rule, exact)
    differ = [key for key, value in table.settings.items() if used.get(key) != value]
    other = [f"{key}={table.settings[key]}" for key in differ if key != "final_replacement"]
    if other:
        return replace(normal, reason=f"intervals were measured for {', '.join(other)} only")
    heads = ", ".join(sorted({head for row in table.rows for head in row.heads}))
    spacings = ", ".join(f"{row.spacing_mm:g}" for row in table.rows)
    reason = f"measured on {heads} with slices every {spacings} mm, {table.samples} samples, no added noise"
    far = []
    if not table.reaches(thickness_mm, spacing_mm):
        far.append(f"{thickness_mm:.3g} mm every {spacing_mm:.3g} mm")
    if config.profile.kind not in EXCITED:
        far.append(f"profile={config.profile.kind}")
    if "final_replacement" in differ:
        far.append(f"final_replacement={exact}")
    if far:
        reason = f"{reason}; {' and '.join(far)} is far from those, and the nearest factor was used"
    return Interval(INTERVAL, table.factor(spacing_mm, INTERVAL), not far, reason)
