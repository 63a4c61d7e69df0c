"""What is decided about a run before it samples: rule, last replacement, noise levels, and why."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from focvs.acquisition.interpolation import OVERLAP_CONDITION
from focvs.errors import InputError
from focvs.reconstruction.case import Case
from focvs.reconstruction.forward_model import LEAST_NOISE
from focvs.reconstruction.rules import choose_rule
from focvs.reconstruction.setup import schedule, voxel_warnings
from focvs.run_config import RunConfig
from focvs.sampling.consistency import SPECTRAL_RULES


@dataclass(frozen=True, eq=False)
class Plan:
    """Decisions of a run.

    Attributes:
        rule: consistency rule.
        exact: whether the last exact replacement is made.
        reason: why, a sentence without its full stop.
        sigmas: ``(steps,)`` noise levels.
        noise_prior: standard deviation of the scan's noise that is sampled with, prior units.
        warnings: a sentence each.
    """

    rule: str
    exact: bool
    reason: str
    sigmas: Tensor
    noise_prior: float
    warnings: tuple[str, ...]


def make_plan(case: Case, config: RunConfig) -> Plan:
    """Decide on a case once, with the reasons that the log and the JSON give.

    Raises:
        InputError: for noise levels that cannot be, and rules that cannot do without a slice.
    """
    scan, thickness, condition = case.scan, case.acquisition.thickness, case.acquisition.written.condition_number
    warnings = [*scan.warnings, *thickness.warnings, *voxel_warnings(scan, case.prior)]
    for stack in case.stacks:
        said = (*stack.scan.warnings, *stack.acquisition.thickness.warnings)
        warnings += [f"{stack.scan.path.name}: {warning}" for warning in said]
    rule, exact, reason = choose_rule(config, condition, case.reproduced_noise_prior, len(case.stacks))
    if scan.missing and rule in SPECTRAL_RULES:
        raise InputError(
            f"{scan.path.name} has slices that were not measured, which consistency={rule} cannot leave out; take "
            "calibrated, diffpir or ddnm."
        )
    if rule != config.consistency.rule or (rule != "none" and not exact and config.final_replacement is not False):
        warnings.append(f"{reason}.")
    for stack in case.stacks:
        if stack.overlapping and rule != "none":
            rule = "calibrated" if rule == "ddnm" else rule
            warnings.append(
                f"{stack.scan.path.name}: its slices overlap (condition number "
                f"{stack.acquisition.written.condition_number:.3g}): the {rule} rule was used"
                + (", and the last replacement leaves it out." if exact else ".")
            )
    noise = case.slices.noise_prior
    if condition > OVERLAP_CONDITION:
        noise = max(noise, LEAST_NOISE)  # without noise every rule is exact and amplifies what there is
    sigmas = schedule(config, conditioned=case.prior.conditioned, stages=1 + len(case.prior.stages))
    return Plan(rule, exact, reason, sigmas, noise, tuple(warnings))
