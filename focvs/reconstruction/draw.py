"""What the prior gives under the scan: samples, or the mean and how far it may be off."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor

from focvs.config import RunConfig, parse_auto
from focvs.errors import is_out_of_memory
from focvs.priors.denoiser import Denoiser
from focvs.reconstruction.case import Case
from focvs.reconstruction.plan import Plan
from focvs.reconstruction.progress import Progress
from focvs.reconstruction.residuals import draw_residuals
from focvs.reconstruction.timing import Stopwatch
from focvs.reconstruction.volume_denoiser import volume_denoiser
from focvs.sampling.cascade import cascade
from focvs.sampling.consistency import Measured, ReplacementRule
from focvs.sampling.samplers import NoiseSource, make_sampler

log = logging.getLogger(__name__)
VOLUMES_PER_SAMPLE, SHARE_OF_MEMORY = 12, 0.6  # that a step holds of each sample, and of a GPU that they may take
NOTHING = -12.0  # logarithm of a deviation away from the head


@dataclass(frozen=True, eq=False)
class Drawn:
    """On the head's box, prior units.

    Attributes:
        mean: ``(p, q, n)``.
        samples: ``(M, p, q, n)``.
        deviation: ``(p, q, n)`` standard deviation of the error of the mean, where the prior tells it.
    """

    mean: Tensor
    samples: Tensor
    deviation: Tensor | None = None


def draw(
    case: Case,
    plan: Plan,
    config: RunConfig,
    denoise: Denoiser,
    rule: ReplacementRule,
    clock: Stopwatch,
    progress: Progress,
) -> Drawn:
    """Samples of the prior under the scan, and their mean.

    Args:
        case: the scan and the prior.
        plan: noise levels.
        config: sampler, samples, batch and seed.
        denoise: of volumes.
        rule: of replacement.
        clock: gets the lap ``sampling``.
        progress: opened here; the denoisers count on it.
    """
    sampler, grid, start = config.sampler, case.acquisition.grid, case.start.to(case.device)
    measured = Measured(rule, case.slices.y.to(case.device)[None])
    on_gpu = start.device.type == "cuda"
    volumes = torch.empty((config.samples, *start.shape[:2], grid.voxels), pin_memory=on_gpu)
    at_once = samples_at_once(case, config)
    with progress, clock.lap("sampling"), torch.no_grad() if sampler.name == "dps" else torch.inference_mode():
        if on_gpu:
            rule.prepare(start, len(plan.sigmas))
        first = 0
        while first < config.samples:
            numbers = range(first, min(first + at_once, config.samples))
            noise, count = NoiseSource(config.seed, [m + 1 for m in numbers], case.device), len(numbers)
            before = progress.done
            run = make_sampler(
                sampler.name,
                measured,
                noise,
                operator=case.acquisition.sampled,
                temperature=sampler.temperature,
                eta=sampler.eta,
                guidance=sampler.guidance,
            )
            x = start.expand(count, *start.shape)
            x = x + float(plan.sigmas[0]) * noise.like(x)
            try:
                found = grid.crop(run(denoise, x, plan.sigmas)).float()
            except (MemoryError, RuntimeError) as error:
                if count == 1 or not is_out_of_memory(error):
                    raise
                at_once = count // 2
                if on_gpu:
                    torch.cuda.empty_cache()
                progress.advance(before - progress.done)
                log.info("memory ran out: %d samples at once from here on", at_once)
                continue
            volumes[first : first + count].copy_(found, non_blocking=on_gpu)
            first += count
        if on_gpu:
            torch.cuda.synchronize(start.device)
    return Drawn(volumes.mean(0), volumes)


def samples_at_once(case: Case, config: RunConfig) -> int:
    """How many samples are computed together: ``batch=``, or what the free memory of a GPU holds, else one."""
    given = parse_auto("batch", config.batch)
    if given is not None:
        return int(given)
    if torch.device(case.device).type != "cuda" or case.prior.dimensions == 3:
        return 1
    free, _ = torch.cuda.mem_get_info(case.device)
    each = VOLUMES_PER_SAMPLE * case.start.numel() * case.start.element_size()
    return max(1, min(config.samples, int(SHARE_OF_MEMORY * free / each)))


def draw_mean(
    case: Case,
    plan: Plan,
    config: RunConfig,
    first: Denoiser,
    rule: ReplacementRule,
    clock: Stopwatch,
    progress: Progress,
) -> Drawn:
    """The mean of the volume given the scan by every stage of the prior, the deviation that it tells, and samples.

    Arguments as of :func:`draw`; ``first`` is the first stage.
    """
    prior, grid, sigma = case.prior, case.acquisition.grid, float(plan.sigmas[0])
    stages = [first]
    for network in prior.stages[: len(plan.sigmas) - 1]:
        later = volume_denoiser(case, network, config, plan, done=progress.advance)
        stages.append(clock.timed("network", later))
    measured = Measured(rule, case.slices.y.to(case.device)[None])
    with progress, clock.lap("sampling"), torch.inference_mode():
        start = case.start.to(case.device)
        if start.device.type == "cuda":
            rule.prepare(start, len(plan.sigmas))
        mean = cascade(stages, start[None], sigma, consistency=measured)
        deviation, cropped = None, grid.crop(mean[0]).to("cpu", torch.float32)
        samples = cropped.new_empty((0, *cropped.shape))
        if prior.deviation is not None:
            whole = volume_denoiser(case, prior.deviation, config, plan, NOTHING, progress.advance)
            log_deviation = clock.timed("network", whole)(mean, sigma)[0]
            deviation = grid.crop(log_deviation.exp()).to("cpu", torch.float32)
            if config.samples:
                samples = draw_residuals(case, plan, config, mean[0], log_deviation, clock, progress)
    return Drawn(cropped, samples, deviation)
