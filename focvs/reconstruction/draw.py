"""What the prior gives under the scan: samples, or the mean and how far it may be off."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from focvs.config import RunConfig
from focvs.priors.denoiser import Denoiser
from focvs.reconstruction.case import Case
from focvs.reconstruction.plan import Plan
from focvs.reconstruction.progress import Progress
from focvs.reconstruction.timing import Stopwatch
from focvs.reconstruction.volume_denoiser import volume_denoiser
from focvs.sampling.cascade import cascade
from focvs.sampling.consistency import Measured, ReplacementRule
from focvs.sampling.samplers import NoiseSource, make_sampler

NOTHING = -12.0  # logarithm of a deviation away from the head


@dataclass(frozen=True, eq=False)
class Drawn:
    """On the head's box, prior units.

    Attributes:
        mean: ``(p, q, n)``.
        samples: ``(M, p, q, n)``, none for ``sampler=mean``.
        deviation: ``(p, q, n)`` standard deviation of the error of the mean, where the prior tells it.
    """

    mean: Tensor
    samples: Tensor
    deviation: Tensor | None = None


def draw(
    case: Case, plan: Plan, config: RunConfig, denoise: Denoiser, rule: ReplacementRule, clock: Stopwatch
) -> Drawn:
    """Samples of the prior under the scan, and their mean.

    Args:
        case: the scan and the prior.
        plan: noise levels.
        config: sampler, samples, batch and seed.
        denoise: of volumes.
        rule: of replacement.
        clock: gets the lap ``sampling``.
    """
    sampler, grid, start = config.sampler, case.acquisition.grid, case.start.to(case.device)
    measured = Measured(rule, case.slices.y.to(case.device)[None])
    volumes = torch.empty((config.samples, *start.shape[:2], grid.voxels))
    progress = Progress(len(plan.sigmas) * config.samples, case.scan.stem, config.progress)
    with progress, clock.lap("sampling"), torch.no_grad() if sampler.name == "dps" else torch.inference_mode():
        for batch in torch.arange(config.samples).split(config.batch):
            noise, count = NoiseSource(config.seed, (batch + 1).tolist(), case.device), len(batch)
            run = make_sampler(
                sampler.name,
                measured,
                noise,
                operator=case.acquisition.sampled,
                callback=partial(_advance, progress, count),
                temperature=sampler.temperature,
                eta=sampler.eta,
                guidance=sampler.guidance,
            )
            x = start.expand(len(batch), *start.shape)
            x = x + float(plan.sigmas[0]) * noise.like(x)
            volumes[batch] = grid.crop(run(denoise, x, plan.sigmas)).to("cpu", torch.float32)
    return Drawn(volumes.mean(0), volumes)


def _advance(progress: Progress, count: int, level: int) -> None:
    progress.advance(count)


def draw_mean(
    case: Case, plan: Plan, config: RunConfig, first: Denoiser, rule: ReplacementRule, clock: Stopwatch
) -> Drawn:
    """The mean of the volume given the scan by every stage of the prior, and the deviation that the prior tells.

    Arguments as of :func:`draw`; ``first`` is the first stage.
    """
    prior, grid, sigma = case.prior, case.acquisition.grid, float(plan.sigmas[0])
    networks = prior.stages[: len(plan.sigmas) - 1]
    stages = [first, *(clock.timed("network", volume_denoiser(case, later, config, plan)) for later in networks)]
    measured = Measured(rule, case.slices.y.to(case.device)[None])
    told = prior.deviation is not None
    progress = Progress(len(stages) + told, case.scan.stem, config.progress)
    with progress, clock.lap("sampling"), torch.inference_mode():
        start = case.start.to(case.device)[None]
        mean = cascade(stages, start, sigma, consistency=measured, callback=partial(_advance, progress, 1))
        deviation = None
        if prior.deviation is not None:
            whole = volume_denoiser(case, prior.deviation, config, plan, outside=NOTHING)
            deviation = grid.crop(clock.timed("network", whole)(mean, sigma)[0].exp()).to("cpu", torch.float32)
            progress.advance()
        mean = grid.crop(mean[0]).to("cpu", torch.float32)
    return Drawn(mean, mean.new_empty((0, *mean.shape)), deviation)
