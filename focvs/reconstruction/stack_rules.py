"""Further stacks as they are replaced at every level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from focvs.priors.error_table import ErrorTable
from focvs.reconstruction.case import Case
from focvs.reconstruction.forward_model import LEAST_NOISE
from focvs.reconstruction.stacks import Stack
from focvs.reconstruction.voxels import volume_affine, volume_mask
from focvs.run_config import ConsistencyConfig
from focvs.sampling.alternating import OtherStack
from focvs.sampling.consistency import Consistency, Support


def sampled_stacks(
    stacks: Sequence[Stack],
    case: Case,
    rule: str,
    config: ConsistencyConfig,
    sigmas: Tensor,
    table: ErrorTable | None,
) -> list[OtherStack]:
    """The further stacks on the head's box with its margins.

    Args:
        stacks: the stacks.
        case: of the first one.
        rule: consistency rule.
        config: its numbers.
        sigmas: the schedule.
        table: error spectra of the prior, where the rule needs them.
    """
    region, units = case.slices.region, case.slices.units
    affine = volume_affine(case.scan, case.acquisition, region, margins=True)
    shape = (*region.mask.shape[:2], case.acquisition.grid.total)
    out = []
    for stack in stacks:
        model, grid = stack.acquisition, stack.acquisition.grid
        support = Support.from_mask(volume_mask(torch.from_numpy(stack.scan.head), grid), config.air)
        noise = units.noise_to_prior(stack.noise_intensity * stack.gain)
        if stack.overlapping:
            noise = max(noise, LEAST_NOISE)
        spectra = None if table is None else table.at(sigmas, grid.total, grid.voxel_mm)
        replacement = Consistency(rule, model.sampled, spectra, noise, support, sigmas.tolist(), config.strength)
        out.append(OtherStack(stack.operator(shape, affine), units.to_prior(stack.slices), replacement))
    return out
