"""The algorithm itself: the prior's mean, or samples of it, under the scan."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from focvs.errors import PriorError
from focvs.parallel import one_thread_each
from focvs.reconstruction.bounds import choose_interval
from focvs.reconstruction.case import Case
from focvs.reconstruction.draw import Drawn, draw, draw_mean
from focvs.reconstruction.estimate import estimate_run, evaluations, work
from focvs.reconstruction.finishing import Finishing
from focvs.reconstruction.plan import make_plan
from focvs.reconstruction.progress import Progress
from focvs.reconstruction.restoration import Restoration, Samples
from focvs.reconstruction.self_calibration import FALLBACK, FLAT, calibrate
from focvs.reconstruction.timing import Stopwatch
from focvs.run_config import RunConfig

log = logging.getLogger(__name__)


def restore(case: Case, config: RunConfig, clock: Stopwatch | None = None) -> Restoration:
    """Draw samples of the prior under the scan, or take its mean.

    Args:
        case: the scan, its forward model and the prior.
        config: sampler, consistency, planes, samples and seed.
        clock: gets the laps ``sampling``, ``network``, ``replacement``, ``calibration`` and ``adaptation``.

    Raises:
        InputError: for an option that does not fit the scan.
        PriorError: if the prior gives NaN or infinite values.
    """
    with one_thread_each() if torch.device(case.device).type == "cpu" else nullcontext():
        return _restore(case, config, clock or Stopwatch())


def _restore(case: Case, config: RunConfig, clock: Stopwatch) -> Restoration:
    plan = make_plan(case, config)
    log.info("consistency: %s", plan.reason)
    if case.seconds_per_pixel is not None:
        log.info("%s: %s", case.scan.stem, estimate_run(case, plan, config, case.seconds_per_pixel))
    if config.adapt:
        from focvs.reconstruction.adapt import adapt_prior  # and with it a trainer

        with clock.lap("adaptation"):
            adapted = adapt_prior(case, config.adaptation, config.progress)
            case = replace(case, prior=adapted.at(adapted.denoise.dtype, compiled=config.compile))
    network = case.prior.in_units_of(case.slices.units.white, float(case.scan.data.max()))
    progress = Progress(work(plan, config, case.prior), case.scan.stem, config.progress)
    table, source = None, ""
    if plan.rule == "calibrated" or config.sampler.name == "resample":
        with clock.lap("calibration"):
            table, source = calibrate(case, network, plan.sigmas.unique(), config)
        log.info("error spectrum of the prior from %s", source)
    run = draw_mean if config.sampler.name == "mean" else draw
    drawn = run(case, plan, config, table, clock, progress)
    _require_numbers(drawn, config)

    warnings = list(plan.warnings)
    if source in (FALLBACK, FLAT):
        warnings.append(f"the error spectrum of the prior is that of {source}.")
    grid, profile = case.acquisition.grid, case.acquisition.profile
    interval = choose_interval(
        config, case.prior, plan.rule, plan.exact, profile.fwhm_mm, grid.spacing_mm, len(case.stacks)
    )
    if interval:
        log.info("q05 and q95: %.3g predictive deviations, %s", interval.factor, interval.reason)
        if not interval.calibrated:
            warnings.append(f"q05 and q95 may hold more or less than 90 % of the true intensities: {interval.reason}.")
    finish = Finishing(case, plan.exact, config.nonnegative)
    return Restoration(
        mean=finish(drawn.mean),
        samples=Samples(lambda i: finish(drawn.samples[i]), len(drawn.samples)),
        rule=plan.rule,
        exact=plan.exact,
        noise_intensity=case.slices.units.noise_from_prior(plan.noise_prior),
        misfit=_misfit(case, drawn.mean, plan.noise_prior),
        warnings=tuple(warnings),
        interval=interval,
        sampled=finish.sampled,
        deviation=None if drawn.deviation is None else finish.deviation(drawn.deviation),
        evaluations=evaluations(plan, config, case.prior),
    )


def _require_numbers(drawn: Drawn, config: RunConfig) -> None:
    """Refuse what is not finite, before anything is written.

    Raises:
        PriorError: saying what may help.
    """
    found = (drawn.mean, drawn.samples, drawn.deviation)
    if all(part is None or bool(torch.isfinite(part).all()) for part in found):
        return
    advice = (
        "get its weights again" if config.precision == "float32" else "add precision=float32, or get its weights again"
    )
    raise PriorError(f"prior={config.prior.path or config.prior.name} gave values that are not numbers; {advice}.")


def _misfit(case: Case, mean: Tensor, noise_prior: float) -> float | None:
    """chi^2 of a volume in the head, or None without noise."""
    if not noise_prior > 0:
        return None
    missed = case.acquisition.written.residual(mean, case.slices.y)[case.slices.mask]
    return float(missed.square().mean()) / noise_prior**2
