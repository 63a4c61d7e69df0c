"""The last replacement of several stacks, and what each says of the result."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from focvs.reconstruction.forward_model import Acquisition
from focvs.reconstruction.stacks import Stack
from focvs.reconstruction.voxels import hold, volume_affine
from focvs.scan.scan import Scan

ROUNDS, LEFT = 10, 0.98  # most rounds of the last replacement; it stops if one leaves more of the squared residual


@dataclass(frozen=True)
class StackResidual:
    """How well a volume reproduces a stack.

    Attributes:
        covered: part of its slices that the volume covers.
        relative_residual: largest absolute residual over the range of its intensities.
        relative_rms_residual: root mean square in the head, over the same.
    """

    covered: float
    relative_residual: float
    relative_rms_residual: float


class Reconciliation:
    """The last replacement of several stacks: in turn, the first one last, until a round brings no more.

    Stacks whose slices overlap are left out of it.

    Args:
        stacks: the further ones.
        scan: the first stack.
        acquisition: its forward model.
        nonnegative: whether every round begins with voxels of at least zero.
    """

    def __init__(self, stacks: Sequence[Stack], scan: Scan, acquisition: Acquisition, nonnegative: bool = False):
        self.scan, self.acquisition, self.stacks, self.nonnegative = scan, acquisition, stacks, nonnegative
        shape = (*scan.data.shape[:2], acquisition.grid.voxels)
        self.operators = [stack.operator(shape, volume_affine(scan, acquisition)) for stack in stacks]

    def __call__(self, whole: Tensor, blank: Tensor) -> None:
        """Change ``(p, q, n)`` intensities in place; blank voxels start at zero in every round."""
        both = [(s, o) for s, o in zip(self.stacks, self.operators, strict=True) if not s.overlapping]
        before, kept = math.inf, whole
        for _ in range(ROUNDS if both else 0):
            if self.nonnegative:
                whole.clamp_min_(0)
            residuals = [operator.residual(whole, stack.slices) for stack, operator in both]
            squares = sum(float(residual.double().square().sum()) for residual in residuals)
            if squares > before:
                whole[:] = kept
            if squares > LEFT * before:
                break
            before, kept = squares, whole.clone()
            for i, (stack, operator) in enumerate(both):
                residual = residuals[0] if i == 0 else operator.residual(whole, stack.slices)
                whole += operator.back(stack.acquisition.sampled.pseudo_inverse(residual))
            whole[blank] = 0
            hold(whole, self.scan, self.acquisition)

    def residuals(self, volume: Tensor) -> list[StackResidual]:
        """Of each stack in ``volume`` ``(p, q, n)``, as it was written."""
        found = []
        for stack, operator in zip(self.stacks, self.operators, strict=True):
            residual = operator.residual(volume, stack.slices).double()
            head = operator.covered & torch.from_numpy(stack.scan.head)
            extent = float(np.ptp(stack.slices.numpy()))
            found.append(
                StackResidual(
                    covered=float(operator.covered.float().mean()),
                    relative_residual=float(residual.abs().max()) / extent,
                    relative_rms_residual=float(residual[head].square().mean().sqrt()) / extent,
                )
            )
        return found
