"""Samples of the volume around its mean: a diffusion of the residual, in deviations of the mean, under the scan."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from focvs.priors.denoiser import Denoiser
from focvs.priors.error_table import ErrorTable
from focvs.priors.planes import AveragedPlanes, mirrored_in_turn
from focvs.priors.residual_network import as_image, deviation_scale
from focvs.reconstruction.batches import Drawer
from focvs.reconstruction.case import Case
from focvs.reconstruction.plan import Plan
from focvs.reconstruction.progress import Progress
from focvs.reconstruction.replacement import replacement_of
from focvs.reconstruction.setup import levels_of
from focvs.reconstruction.timing import Stopwatch, TimedConsistency
from focvs.reconstruction.volume_denoiser import plane_denoisers
from focvs.run_config import Planes, RunConfig
from focvs.sampling.around import MeasuredAround
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.sampling.samplers import NoiseSource, dpmpp_2m

SIGMAS = 20.0, 0.05  # first and last noise level, in deviations of the mean
TOLD = 0.96  # of the noise level: a network that knows too little removes too much (Karras et al. 2022, S_noise)


def residual_sigmas(config: RunConfig) -> Tensor:
    """``(levels,)`` noise levels of the residual, in deviations of the mean."""
    return karras_sigmas(levels_of(config), *SIGMAS)


def told_less(denoise: Denoiser) -> Denoiser:
    """D(x, sigma) that is told of a little less noise; of an exact one samples are 1 / TOLD as far apart, 4 % more.

    Karras et al. 2022 (section 4) add a little more noise than they tell of, for the same reason.
    """
    return lambda x, sigma: denoise(x, TOLD * sigma)


def residual_drawer(
    case: Case,
    config: RunConfig,
    clock: Stopwatch,
    progress: Progress,
    *,
    plan: Plan,
    mean: Tensor,
    log_deviation: Tensor,
) -> Drawer:
    """What draws samples around a mean, prior units.

    Every sample is drawn through one of the planes and one mirror, in turn from sample to sample (or through the
    average of the planes, as ``config`` says). Planes that take turns at the levels of one sample each shrink what the
    other leaves open, and so, by less, do mirrors.

    They are drawn by :func:`focvs.sampling.samplers.dpmpp_2m`, whose ten levels keep 99 to 110 % of the variance of a
    Gaussian residual by an exact denoiser, :func:`told_less` apart; ancestral sampling keeps 48 to 60 % in as many
    (``tests/sampling/test_around.py``).

    Args:
        case: the scan and the prior, which has a ``residual``.
        config: number of levels, planes.
        clock: gets the laps ``network`` and ``replacement``.
        progress: counts evaluations.
        plan: rule and noise.
        mean: ``(p, q, total)`` of the cascade.
        log_deviation: ``(p, q, total)`` logarithm of the deviation of its error, prior units.
    """
    prior, grid, sigmas = case.prior, case.acquisition.grid, residual_sigmas(config)
    assert prior.residual is not None
    mean, log_deviation = mean.to(case.device), log_deviation.to(case.device)
    scale = deviation_scale(log_deviation)
    told = (mean, as_image(log_deviation))
    planes = [
        replace(plane, outside=0.0, done=progress.advance, further=told)
        for plane in plane_denoisers(case, prior.residual, config, plan)
    ]
    average = config.planes is Planes.average
    wholes: list[Denoiser] = [AveragedPlanes(planes)] if average else [*mirrored_in_turn(planes)]
    denoisers = [told_less(clock.timed("network", whole)) for whole in wholes]
    # errors of the denoiser are taken for alike at all frequencies: those that the scan knows are hardly left open
    typical = float(scale[case.head.to(scale.device)].square().mean()) if case.head.any() else 1.0
    variance = typical * sigmas**2 / (1 + sigmas**2)
    table = ErrorTable(sigmas.flip(0), variance.flip(0)[:, None].expand(-1, 2), grid.voxel_mm)
    rule = replacement_of(case, replace(plan, sigmas=sigmas), config, table)
    if mean.device.type == "cuda":
        rule.prepare(mean, len(sigmas))
    measured = MeasuredAround(TimedConsistency(rule, clock), case.slices.y.to(mean)[None], mean, scale)

    def draw_some(noise: NoiseSource, numbers: range) -> Tensor:
        residual = float(sigmas[0]) * noise.like(mean.expand(len(numbers), *mean.shape))
        for k, denoise in enumerate(denoisers):
            turn = [i for i, number in enumerate(numbers) if number % len(denoisers) == k]
            if turn:
                residual[turn] = dpmpp_2m(denoise, residual[turn], sigmas, consistency=measured)
        return grid.crop(mean + scale * residual)

    return draw_some
