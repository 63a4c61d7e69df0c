"""What the scans of a case replace at every noise level, of one stack or several."""

from __future__ import annotations

from focvs.priors.error_table import ErrorTable
from focvs.reconstruction.case import Case
from focvs.reconstruction.plan import Plan
from focvs.reconstruction.rules import make_rule
from focvs.reconstruction.stack_rules import sampled_stacks
from focvs.run_config import RunConfig
from focvs.sampling.alternating import AlternatingConsistency
from focvs.sampling.consistency import Consistency, ReplacementRule, Support


def replacement_of(case: Case, plan: Plan, config: RunConfig, table: ErrorTable | None) -> ReplacementRule:
    """The consistency rule at every level.

    Args:
        case: the scan and further stacks.
        plan: rule, noise levels and noise.
        config: numbers of the rule.
        table: error spectra of the prior, where the rule needs them.
    """
    grid, operator = case.acquisition.grid, case.acquisition.sampled
    spectra = support = None
    if table is not None:
        spectra = table.at(plan.sigmas, grid.total, grid.voxel_mm)
        support = Support.from_mask(case.head, config.consistency.air)
    rule = make_rule(plan.rule, config.consistency, operator, plan.sigmas, plan.noise_prior, spectra, support)
    if not case.stacks or plan.rule == "none":
        return rule
    assert isinstance(rule, Consistency)  # check_options lets no other through
    others = sampled_stacks(case.stacks, case, plan.rule, config.consistency, plan.sigmas, table)
    return AlternatingConsistency(rule, others)
