"""Which consistency rule, last replacement and interval a run uses, and why."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from focvs.acquisition.interpolation import OVERLAP_CONDITION
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import EXCITED
from focvs.config import ConsistencyConfig, RunConfig
from focvs.priors.intervals import Interval
from focvs.priors.pretrained import Prior
from focvs.sampling.consistency import Consistency, Support
from focvs.sampling.samplers import ReplacementRule
from focvs.sampling.spectral import DDRM, DDNMPlus
from focvs.sampling.statistics import POOLING, normal_quantile

MUCH_NOISE = 0.025  # of the white level, above which it is worth saying that the result has it too
MOST_NOISE = 0.04  # above which it is left out: 5 % cost 1.03 dB, 2.5 % 0.17 dB, on ms26's FLAIR, slices of 4 mm
INTERVAL = 0.9  # of the head's voxels between q05 and q95


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


def takes_bias_off(config: RunConfig, exact: bool, noise_sigma: float) -> bool:
    """Whether the Rician bias is taken off: of a single scan whose noise is high, and that need not be reproduced.

    Args:
        config: what was asked for.
        exact: whether the last exact replacement is made.
        noise_sigma: noise of the written slices in prior units.
    """
    return config.rician_bias == "auto" and not config.stacks and not exact and noise_sigma / 2 > MOST_NOISE


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
    """What decides how far samples of a prior are from the truth, and how their spread is pooled: intervals hold for
    runs that agree in all of it.

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
        "sampler.rho": sampler.rho,
        "sampler.eta": sampler.eta if sampler.name == "ddim" else 0.0,
        "sampler.guidance": sampler.guidance if sampler.name == "dps" else 0.0,
        "consistency": rule,
        "consistency.air": config.consistency.air if rule == "calibrated" else 0.0,
        "consistency.strength": config.consistency.strength if rule == "diffpir" else 0.0,
        "consistency.eta": config.consistency.eta if rule == "ddrm" else 0.0,
        "pooling": POOLING,
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
    differ = [key for key in {**used, **table.settings} if used.get(key) != table.settings.get(key)]
    other = [f"{key}={table.settings.get(key, 'unknown')}" for key in differ if key != "final_replacement"]
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
