"""What the prior gives under the scan: samples, or the mean and how far it may be off."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from focvs.priors.denoiser import Denoiser
from focvs.priors.error_table import ErrorTable
from focvs.reconstruction.batches import Drawer
from focvs.reconstruction.case import Case
from focvs.reconstruction.plan import Plan
from focvs.reconstruction.progress import Progress
from focvs.reconstruction.replacement import replacement_of
from focvs.reconstruction.residuals import residual_drawer
from focvs.reconstruction.shares import draw_shares
from focvs.reconstruction.timing import Stopwatch, TimedConsistency
from focvs.reconstruction.volume_denoiser import volume_denoiser
from focvs.run_config import RunConfig
from focvs.sampling.cascade import cascade
from focvs.sampling.consistency import Measured
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
    table: ErrorTable | None,
    clock: Stopwatch,
    progress: Progress,
) -> Drawn:
    """Samples of the prior under the scan, and their mean.

    Args:
        case: the scan and the prior.
        plan: noise levels.
        config: sampler, samples, batch, devices and seed.
        table: error spectra of the prior, where the rule needs them.
        clock: gets the laps ``sampling``, ``network`` and ``replacement``.
        progress: opened here; the denoisers count on it.
    """
    with progress, clock.lap("sampling"):
        volumes = draw_shares(case, config, partial(sample_drawer, plan=plan, table=table), clock, progress)
    return Drawn(volumes.mean(0), volumes)


def sample_drawer(
    case: Case, config: RunConfig, clock: Stopwatch, progress: Progress, *, plan: Plan, table: ErrorTable | None
) -> Drawer:
    """What draws samples of the prior under the scan, prior units. Arguments as of :func:`draw`."""
    sampler, grid, start = config.sampler, case.acquisition.grid, case.start.to(case.device)
    denoise = clock.timed("network", first_denoiser(case, plan, config, progress))
    rule = TimedConsistency(replacement_of(case, plan, config, table), clock)
    measured = Measured(rule, case.slices.y.to(case.device)[None])
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

    return draw_some


def first_denoiser(case: Case, plan: Plan, config: RunConfig, progress: Progress) -> Denoiser:
    """The prior as the denoiser of volumes, which counts on ``progress``; of a mean its first stage."""
    network = case.prior.in_units_of(case.slices.units.white, float(case.scan.data.max()))
    return volume_denoiser(case, network, config, plan, done=progress.advance)


def draw_mean(
    case: Case,
    plan: Plan,
    config: RunConfig,
    table: ErrorTable | None,
    clock: Stopwatch,
    progress: Progress,
) -> Drawn:
    """The mean of the volume given the scan by every stage of the prior, the deviation that it tells, and samples.

    Arguments as of :func:`draw`.
    """
    prior, grid, sigma = case.prior, case.acquisition.grid, float(plan.sigmas[0])
    rule = TimedConsistency(replacement_of(case, plan, config, table), clock)
    stages = [clock.timed("network", first_denoiser(case, plan, config, progress))]
    guiding: tuple[Tensor, ...] = ()
    if case.guide is not None and prior.guided is not None:
        guiding = tuple(volume.to(case.device) for volume in case.guiding)
    for number, network in enumerate(prior.stages[: len(plan.sigmas) - 1], start=1):
        told: tuple[Tensor, ...] = ()
        if guiding and prior.guided is not None and number == len(prior.stages):
            network, told = prior.guided, guiding
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
            network, told = prior.deviation, ()
            if guiding and prior.guided_deviation is not None:
                network, told = prior.guided_deviation, guiding
            whole = volume_denoiser(case, network, config, plan, NOTHING, progress.advance, told)
            log_deviation = clock.timed("network", whole)(mean, sigma)[0].clamp_max(MOST)
            deviation = grid.crop(log_deviation.exp()).to("cpu", torch.float32)
            if config.samples:
                drawer = partial(residual_drawer, plan=plan, mean=mean[0].cpu(), log_deviation=log_deviation.cpu())
                samples = draw_shares(case, config, drawer, clock, progress)
    return Drawn(cropped, samples, deviation)
