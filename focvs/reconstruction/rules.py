"""Which consistency rule and last replacement a run uses, and why."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from focvs.acquisition.interpolation import OVERLAP_CONDITION
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.reconstruction.forward_model import Acquisition
from focvs.run_config import ConsistencyConfig, RunConfig
from focvs.sampling.consistency import Consistency, ReplacementRule, Support
from focvs.sampling.spectral import DDRM, DDNMPlus
from focvs.scan.rician import unbias
from focvs.scan.scan import Scan
from focvs.scan.slices import Slices
from focvs.scan.units import noise_fraction

MUCH_NOISE = 0.025  # of the white level, above which it is worth saying that the result has it too
MOST_NOISE = 0.04  # above which it is left out: 5 % cost 1.03 dB, 2.5 % 0.17 dB, on ms26's FLAIR, slices of 4 mm


def choose_rule(config: RunConfig, condition: float, noise_prior: float, stacks: int = 0) -> tuple[str, bool, str]:
    """The consistency rule, whether the last exact replacement is made, and why.

    Args:
        config: what was asked for.
        condition: condition number of the operator.
        noise_prior: noise of the written slices, prior units.
        stacks: how many there are besides the first; together they are reproduced whatever their noise.
    """
    rule, asked = config.consistency.rule, config.final_replacement
    noise = f"noise {100 * noise_fraction(noise_prior):.2g} % of the white level"
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
    if asked == "auto" and rule != "ddnm" and not stacks and noise_fraction(noise_prior) > MOST_NOISE:
        why = f"{noise} is more than the {100 * MOST_NOISE:.2g} % an exact replacement may carry over"
        end = "without a last one the result reproduces the scan to within its noise; final_replacement=true makes it"
        return rule, False, f"{rule}: {why}; {end}"
    return rule, True, f"{rule}, with a last exact replacement: {apart}"


def takes_bias_off(config: RunConfig, exact: bool, noise_prior: float) -> bool:
    """Whether the Rician bias is taken off: of a single scan whose noise is high, and that need not be reproduced.

    Args:
        config: what was asked for.
        exact: whether the last exact replacement is made.
        noise_prior: noise of the written slices, prior units.
    """
    return config.rician_bias == "auto" and not config.stacks and not exact and noise_fraction(noise_prior) > MOST_NOISE


def carried_over(fraction: float) -> list[str]:
    """A warning where the last exact replacement carries much noise into the result.

    Args:
        fraction: standard deviation of the noise of the written slices as a fraction of the white level.
    """
    if fraction <= MUCH_NOISE:
        return []
    return [
        f"the scan's noise, {100 * fraction:.2g} % of the white level, is carried over by the last exact "
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


def without_bias(scan: Scan, slices: Slices, acquisition: Acquisition, config: RunConfig) -> tuple[Scan, Slices]:
    """A noisy scan that is not to be reproduced exactly, and its slices, less the bias of their magnitudes."""
    condition = acquisition.written.condition_number
    _, exact, _ = choose_rule(config, condition, slices.noise_prior, len(config.stacks))
    if not takes_bias_off(config, exact, slices.noise_prior):
        return scan, slices
    scan = unbias(scan, slices.noise_intensity)
    y = slices.units.to_prior(torch.from_numpy(scan.data[slices.region.crop]))
    return scan, replace(slices, y=y)
