"""The one road from file to file: read, model the acquisition, sample, replace, write, verify."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from focvs.acquisition.interpolation import OVERLAP_CONDITION, interpolation_matrix, spline_matrix
from focvs.adaptation import adapt_prior
from focvs.choices import carried_over, choose_interval, choose_rule, make_rule, takes_bias_off
from focvs.config import RunConfig, parse_auto
from focvs.dicom import open_scan
from focvs.evaluation.baselines import EXACT, METHODS, Problem
from focvs.forward_model import (
    LEAST_NOISE,
    Acquisition,
    blank_voxels,
    hold,
    model_acquisition,
    slice_spacing,
    volume_mask,
    voxel_window,
)
from focvs.in_plane import PixelGrid, Refinement, coarsen, noise_gain, resolved_mm
from focvs.preparation import (
    FALLBACK,
    calibrate,
    check_options,
    choose_device,
    conditioning_numbers,
    open_prior,
    schedule,
    volume_denoiser,
    voxel_warnings,
)
from focvs.priors.intervals import Interval
from focvs.priors.pretrained import Prior
from focvs.results import describe_run, require_writable, write_images, write_sidecar
from focvs.sampling.consistency import Consistency, Support
from focvs.sampling.samplers import SAMPLERS, NoiseSource, ddim, dps, resample
from focvs.sampling.stacked import StackedConsistency
from focvs.sampling.statistics import SampleStore, half_width, predictive_deviation, replaced_noise
from focvs.slices import Slices, balance_slices, prior_units, take_slices, unbias
from focvs.stacks import Reconciliation, Stack, open_stacks, sampled_stacks
from focvs.timing import Stopwatch, TimedConsistency
from focvs.volume import Scan, head_mask, intensity_scale, read_nifti

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Restoration:
    """What a method gives, in the scan's intensity units, arrays ``(p, q, n)``."""

    images: dict[str, np.ndarray]  # mean; where there are samples also std, nullstd, and predictive or q05 and q95
    samples: Iterator[np.ndarray]  # finished one at a time, so that no second copy of all is ever held
    rule: str
    exact: bool  # whether the last exact replacement was made
    noise_sigma: float
    chi2_before_last_replacement: float | None
    seeds: list[int]
    warnings: list[str]
    interval: Interval | None = None  # between q05 and q95, where there are several samples


def super_resolve(config: RunConfig) -> dict[str, Path]:
    """Restore one volume from a scan, or from several stacks of a head, and write every result.

    Returns:
        Paths by name: ``mean``, ``figure``, ``json``; of FOCVS also ``std``, ``nullstd``, of several samples ``q05``
        and ``q95``, and where asked for ``sample-01`` ...

    Raises:
        InputError: for anything wrong with the scan, an option or the output folder; nothing is written then.
        PriorError: if the prior cannot be loaded.
    """
    clock = Stopwatch()
    with clock.lap("total"):
        check_options(config)
        folder = Path(config.output_dir or Path(config.scan).parent)
        scan = balance_slices(open_scan(Path(config.scan), folder if config.output_dir else None), config.slice_gains)
        device = choose_device(config.device) if config.method == "focvs" else "cpu"
        prior = open_prior(config.prior, device) if config.method == "focvs" else None
        known_mm = None if prior is None else prior.voxel_range_mm
        pixels = PixelGrid.for_range(scan, slice_spacing(scan, config.spacing), known_mm)
        working = coarsen(scan, pixels)
        acquisition = model_acquisition(scan, config, min(working.in_plane_mm))
        require_writable(folder)
        log.info("%s: slices along %s, %r", scan.path.name, scan.slice_direction(), acquisition.written)
        log.info("%s", acquisition.thickness.table(acquisition.grid.spacing_mm))
        with clock.lap("alignment"):
            stacks = open_stacks(config, working, acquisition)
        slices, read = take_slices(scan, config), scan
        if prior is None:
            with clock.lap("sampling"):
                restoration = restore_without_prior(scan, slices, acquisition, config)
        else:
            scan, slices = without_bias(read, slices, acquisition, config)
            known = (prior, config, device, clock, stacks)
            if pixels.trivial:
                restoration = restore(scan, slices, acquisition, *known)
            else:
                restoration = restore_coarsely(scan, slices, pixels, acquisition, *known)
        restoration = with_bounds(restoration, read, acquisition)
        paths = write_images(scan, acquisition, restoration.images, restoration.samples, config, folder)
    if prior is not None and restoration.exact and restoration.rule != "ddnm":  # whose every step carries it over
        restoration.warnings.extend(carried_over(restoration.noise_sigma / intensity_scale(scan.data)))
    for warning in restoration.warnings:
        log.warning("%s: %s", scan.path.name, warning)
    report = describe_run(scan, acquisition, restoration, prior, config, device, clock.seconds, paths["mean"])
    report["acquisition"] |= {
        "in_plane_mm": scan.in_plane_mm,
        "resolved_mm": resolved_mm(read),
        "worked_mm": working.in_plane_mm,
        "rician_bias_removed": scan is not read,
    }
    if stacks:
        volume = torch.from_numpy(np.moveaxis(read_nifti(paths["mean"])[0], scan.axis, -1).copy())
        report["stacks"] = Reconciliation(stacks, working, acquisition).describe(pixels.average(volume))
        for entry in report["stacks"]:
            log.info("%s: relative residual %.1e root mean square", entry["scan"], entry["relative_rms_residual"])
    paths["json"] = write_sidecar(scan, report, folder)
    residual = report["consistency"]["relative_residual"]
    log.info("wrote %s, relative residual %.1e, %.0f s", paths["mean"], residual, clock.seconds["total"])
    return paths


def without_bias(scan: Scan, slices: Slices, acquisition: Acquisition, config: RunConfig) -> tuple[Scan, Slices]:
    """A noisy scan that is not to be reproduced exactly, and its slices, less the bias of their magnitudes."""
    condition = acquisition.written.condition_number
    _, exact, _ = choose_rule(config, condition, slices.noise_sigma, len(config.stacks))
    if not takes_bias_off(config, exact, slices.noise_sigma):
        return scan, slices
    scan = unbias(scan, slices.noise_sigma * slices.scale / 2)
    return scan, replace(slices, y=prior_units(scan, slices.region, slices.scale))


def with_bounds(restoration: Restoration, scan: Scan, acquisition: Acquisition) -> Restoration:
    """The same with ``q05`` and ``q95`` in place of the predictive deviation of its samples, where it has one.

    They reach as far as :func:`half_width` says, but not below zero where the scan does not, and are the mean where
    nothing was sampled. A single sample has none.
    """
    if "predictive" not in restoration.images:
        return restoration
    images = {name: image for name, image in restoration.images.items() if name != "predictive"}
    if len(restoration.seeds) < 2:
        return replace(restoration, images=images)
    mean, predictive = images["mean"], torch.from_numpy(restoration.images["predictive"])
    reach = torch.zeros_like(predictive)
    if (interval := restoration.interval) is not None:
        noise = replaced_noise(acquisition.written, restoration.noise_sigma).float() if restoration.exact else 0.0
        reach = half_width(predictive, interval.factor, noise, interval.level) * (predictive > 0)
    lowest = np.minimum(mean, min(0.0, float(scan.data.min())))
    images["q05"], images["q95"] = np.maximum(mean - reach.numpy(), lowest), mean + reach.numpy()
    return replace(restoration, images=images)


def restore_without_prior(scan: Scan, slices: Slices, acquisition: Acquisition, config: RunConfig) -> Restoration:
    """One of :data:`focvs.evaluation.baselines.METHODS` on the whole scan; no uncertainty."""
    scale = intensity_scale(scan.data)
    data, numbers = torch.from_numpy(scan.data), config.baseline
    problem = Problem(
        data / scale,
        acquisition.written,
        torch.from_numpy(head_mask(scan.data, scale)),
        numbers.tv_weight,
        numbers.tv_iterations,
        numbers.training_steps,
        config.seed,
    )
    mean = (METHODS[config.method](problem) * scale).float()
    mean[blank_voxels(data, acquisition.grid)] = 0
    exact = acquisition.written.condition_number <= OVERLAP_CONDITION and config.method in EXACT
    if exact:
        hold(mean, scan, acquisition)
    return Restoration(
        images={"mean": mean.numpy()},
        samples=iter(()),
        rule=config.method,
        exact=exact,
        noise_sigma=slices.noise_sigma * scale / 2,
        chi2_before_last_replacement=None,
        seeds=[config.seed],
        warnings=[*scan.warnings, *acquisition.thickness.warnings],
    )


def restore_coarsely(
    scan: Scan,
    slices: Slices,
    pixels: PixelGrid,
    acquisition: Acquisition,
    prior: Prior,
    config: RunConfig,
    device: str,
    clock: Stopwatch,
    stacks: Sequence[Stack] = (),
) -> Restoration:
    """:func:`restore` on working pixels, brought back to the acquired ones; noise in units of the acquired ones."""
    given = parse_auto("noise", config.noise)
    coarse_config = replace(config, voxel="auto", noise="auto" if given is None else given * noise_gain(scan, pixels))
    working = coarsen(scan, pixels)
    coarse = model_acquisition(working, coarse_config, thickness=acquisition.thickness)
    taken = take_slices(working, coarse_config)
    restoration = restore(working, taken, coarse, prior, coarse_config, device, clock, stacks, slices.noise_sigma)
    refine = Refinement(scan, coarse, acquisition, pixels, restoration.exact)
    return replace(
        restoration,
        images=refine.images(restoration.images),
        samples=refine.samples(restoration.samples),
        noise_sigma=slices.noise_sigma * slices.scale / 2,
        chi2_before_last_replacement=None,  # of pixels that are not written
    )


def restore(
    scan: Scan,
    slices: Slices,
    acquisition: Acquisition,
    prior: Prior,
    config: RunConfig,
    device: str,
    clock: Stopwatch | None = None,
    stacks: Sequence[Stack] = (),
    written_noise: float | None = None,
) -> Restoration:
    """Sample the prior under the scan: the algorithm itself.

    Args:
        scan: the scan.
        slices: its slices.
        acquisition: its forward model.
        prior: the prior.
        config: sampler, consistency, planes, samples, seed and noise.
        device: torch device.
        clock: gets the laps ``sampling``, ``network``, ``replacement``, ``calibration`` and ``adaptation``.
        stacks: further scans of the same head.
        written_noise: noise of the slices the written volume may reproduce exactly, prior units; None: of ``scan``.

    Raises:
        InputError: for an option that does not fit the scan.
    """
    clock = clock or Stopwatch()
    warnings = [*scan.warnings, *acquisition.thickness.warnings, *voxel_warnings(scan, prior)]
    for stack in stacks:
        said = (*stack.scan.warnings, *stack.acquisition.thickness.warnings)
        warnings += [f"{stack.scan.path.name}: {warning}" for warning in said]
    grid, operator, sampler = acquisition.grid, acquisition.sampled, config.sampler
    sigmas = schedule(config, conditioned=prior.conditioned)

    region, y, noise_sigma = slices.region, slices.y, slices.noise_sigma

    reproduced = noise_sigma if written_noise is None else written_noise
    rule, exact, reason = choose_rule(config, acquisition.written.condition_number, reproduced, len(stacks))
    log.info("consistency: %s", reason)
    if rule != config.consistency.rule or (rule != "none" and not exact and config.final_replacement is not False):
        warnings.append(f"{reason}.")
    for stack in stacks:
        if stack.overlapping and rule != "none":
            rule = "calibrated" if rule == "ddnm" else rule
            warnings.append(
                f"{stack.scan.path.name}: its slices overlap (condition number "
                f"{stack.acquisition.written.condition_number:.3g}): the {rule} rule was used"
                + (", and the last replacement leaves it out." if exact else ".")
            )

    if acquisition.written.condition_number > OVERLAP_CONDITION:
        noise_sigma = max(noise_sigma, LEAST_NOISE)  # without noise every rule is exact and amplifies what there is

    start = y @ interpolation_matrix(operator).float().T
    if config.adapt:
        with clock.lap("adaptation"):
            prior = adapt_prior(prior, slices, scan, acquisition, config.adaptation, device, config.progress)
    network = prior.in_units_of(slices.scale, float(scan.data.max()))
    told = conditioning_numbers(acquisition, noise_sigma)
    window = voxel_window(grid, region.slices)
    denoise = volume_denoiser(prior, network, scan, config, sigmas, window, start.to(device), told)
    denoise = clock.timed("network", denoise)
    spectra = support = table = None
    if rule == "calibrated" or sampler.name == "resample":
        with clock.lap("calibration"):
            table, source = calibrate(prior, network, slices, start, sigmas, scan, acquisition, config, device)
        log.info("error spectrum of the prior from %s", source)
        if source == FALLBACK:
            warnings.append(f"the error spectrum of the prior is that of {source}.")
        spectra = table.at(sigmas, grid.total, grid.voxel_mm)
        support = Support.from_mask(volume_mask(slices.mask, grid), config.consistency.air)
    replacement = make_rule(rule, config.consistency, operator, sigmas, noise_sigma, spectra, support)
    if stacks and rule != "none":
        assert isinstance(replacement, Consistency)  # check_options lets no other through
        others = sampled_stacks(
            stacks, scan, acquisition, region, slices.scale, rule, config.consistency, sigmas, table
        )
        replacement = StackedConsistency(replacement, others)
    consistency = TimedConsistency(replacement, clock)

    run: Callable[..., Tensor] = SAMPLERS[sampler.name]
    if run is ddim:
        run = partial(ddim, eta=sampler.eta)
    elif run is resample:
        run = partial(resample, spread=sampler.spread)
    elif run is dps:
        run = partial(dps, operator=operator, strength=sampler.guidance)
    seeds = [config.seed + m for m in range(1, config.samples + 1)]
    store = SampleStore(config.samples, (*start.shape[:2], grid.voxels))
    bar = tqdm(
        total=len(sigmas) * config.samples, desc=scan.stem, disable=None if config.progress else True, leave=False
    )
    with bar, clock.lap("sampling"), torch.no_grad() if sampler.name == "dps" else torch.inference_mode():
        for first in range(0, config.samples, config.batch):
            noise = NoiseSource(seeds[first : first + config.batch])
            count = len(noise.generators)
            x = start.to(device).expand(count, *start.shape)
            x = x + float(sigmas[0]) * noise.like(x)
            out = run(denoise, consistency, y.to(device)[None], x, sigmas, noise, partial(_advance, bar, count))
            for sample in grid.crop(out):
                store.add(sample)

    summary = store.summarise(acquisition.written)
    chi2 = None
    if noise_sigma > 0:
        misfit = (acquisition.written(summary.mean) - y)[slices.mask]
        chi2 = float(misfit.square().mean()) / noise_sigma**2
    together = Reconciliation(stacks, scan, acquisition) if stacks and exact else None
    finish = partial(_finish, scan, acquisition, slices, exact, together)
    mean = finish(summary.mean)
    known = blank_voxels(torch.from_numpy(scan.data[region.crop]), grid)
    fwhm_mm = acquisition.profile.fwhm_mm
    interval = choose_interval(config, prior, rule, exact, fwhm_mm, grid.spacing_mm, len(stacks))
    if interval:
        log.info("q05 and q95: %.3g predictive deviations and noise, %s", interval.factor, interval.reason)
        if not interval.calibrated:
            warnings.append(f"what q05 and q95 hold between them is not known: {interval.reason}.")
    # of the finished samples, in which the last exact replacement leaves what the scan says nothing about
    predictive = predictive_deviation(summary.null_std if exact else summary.std, config.samples)

    def spread_out(spread: Tensor) -> np.ndarray:
        whole = np.zeros_like(mean)
        whole[region.crop] = torch.where(known, 0.0, spread).numpy() * (slices.scale / 2)
        return whole

    images = {
        "mean": mean,
        "std": spread_out(summary.std),
        "nullstd": spread_out(summary.null_std),
        "predictive": spread_out(predictive),
    }
    noise_level = noise_sigma * slices.scale / 2
    return Restoration(images, map(finish, store.values), rule, exact, noise_level, chi2, seeds, warnings, interval)


def _advance(bar: tqdm, count: int, level: int) -> None:
    bar.update(count)


def _finish(
    scan: Scan,
    acquisition: Acquisition,
    slices: Slices,
    exact: bool,
    together: Reconciliation | None,
    volume: Tensor,
) -> np.ndarray:
    """Intensity units, spline interpolation outside the head's box, blank voxels, the last exact replacement."""
    data = torch.from_numpy(scan.data)
    whole = data @ spline_matrix(acquisition.grid, margins=False).float().T
    whole[slices.region.crop] = torch.from_numpy(_intensity(volume, slices.scale))
    blank = blank_voxels(data, acquisition.grid)
    whole[blank] = 0
    if exact:
        hold(whole, scan, acquisition)
        if together:
            together(whole, blank)
    return whole.numpy()


def _intensity(volume: Tensor, scale: float) -> np.ndarray:
    """Prior units to the scan's intensity units."""
    return ((volume + 1) * (scale / 2)).numpy()
