"""What the prior gives under the scan: samples, or the mean and how far it may be off."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from focvs.priors.denoiser import Denoiser
from focvs.reconstruction.batches import draw_batches
from focvs.reconstruction.case import Case
from focvs.reconstruction.plan import Plan
from focvs.reconstruction.progress import Progress
from focvs.reconstruction.residuals import draw_residuals
from focvs.reconstruction.timing import Stopwatch
from focvs.reconstruction.volume_denoiser import volume_denoiser
from focvs.run_config import RunConfig
from focvs.sampling.cascade import cascade
from focvs.sampling.consistency import Measured, ReplacementRule
from focvs.sampling.samplers import NoiseSource, make_sampler

NOTHING = -12.0  # logarithm of a deviation away from the head
MOST = 0.0  # logarithm of the largest deviation that is believed, half of the white level: the network extrapolates


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
    with progress, clock.lap("sampling"), torch.no_grad() if sampler.name == "dps" else torch.inference_mode():
        if start.device.type == "cuda":
            rule.prepare(start, len(plan.sigmas))

        def draw_some(noise: NoiseSource, numbers: range) -> Tensor:
            run = make_sampler(
                sampler.name,
                measured,
                noise,
                operator=case.acquisition.sampled,
                temperature=sampler.temperature,
                eta=sampler.eta,
                guidance=sampler.guidance,
            )
            x = start.expand(len(numbers), *start.shape)
            return grid.crop(run(denoise, x + float(plan.sigmas[0]) * noise.like(x), plan.sigmas))

        volumes = draw_batches(case, config, draw_some, progress)
    return Drawn(volumes.mean(0), volumes)


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
    for number, network in enumerate(prior.stages[: len(plan.sigmas) - 1], start=1):
        told: tuple[Tensor, ...] = ()
        if case.guide is not None and prior.guided is not None and number == len(prior.stages):
            network, told = prior.guided, tuple(volume.to(case.device) for volume in case.guiding)
        later = volume_denoiser(case, network, config, plan, done=progress.advance, told=told)
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
            log_deviation = clock.timed("network", whole)(mean, sigma)[0].clamp_max(MOST)
            deviation = grid.crop(log_deviation.exp()).to("cpu", torch.float32)
            if config.samples:
                samples = draw_residuals(case, plan, config, mean[0], log_deviation, clock, progress)
    return Drawn(cropped, samples, deviation)
