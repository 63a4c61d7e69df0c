"""The algorithm itself: sample the prior under the scan."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from focvs.acquisition.interpolation import OVERLAP_CONDITION, interpolation_matrix, spline_matrix
from focvs.config import RunConfig
from focvs.priors.pretrained import Prior
from focvs.reconstruction.adapt import adapt_prior
from focvs.reconstruction.bounds import choose_interval
from focvs.reconstruction.forward_model import LEAST_NOISE, Acquisition
from focvs.reconstruction.reconciliation import Reconciliation
from focvs.reconstruction.restoration import Restoration
from focvs.reconstruction.rules import choose_rule, make_rule
from focvs.reconstruction.self_calibration import FALLBACK, calibrate
from focvs.reconstruction.setup import (
    conditioning_numbers,
    schedule,
    volume_denoiser,
    voxel_warnings,
)
from focvs.reconstruction.stacks import Stack, sampled_stacks
from focvs.reconstruction.timing import Stopwatch, TimedConsistency
from focvs.reconstruction.voxels import blank_voxels, hold, volume_mask, voxel_window
from focvs.sampling.alternating import StackedConsistency
from focvs.sampling.consistency import Consistency, Support
from focvs.sampling.samplers import SAMPLERS, NoiseSource, ddim, dps, resample
from focvs.sampling.statistics import SampleStore, predictive_deviation
from focvs.scan.scan import Scan
from focvs.scan.slices import Slices

log = logging.getLogger(__name__)


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
