"""No negative tissue: the nearest volume that reproduces the scan and is nowhere below zero."""

from __future__ import annotations

import torch
from torch import Tensor

from focvs.acquisition.operator import ThroughPlaneOperator

TOUCHED = 1e-4  # of the white level: columns that go no further below zero are left alone
HELD = 2e-6  # of the white level: a column whose residual is below this reproduces its slices
MOST = 0.1  # of the white level, by which the dual may move a voxel; making A x = y exact comes on top
ROUNDS, CHECKED = 160, 20  # of the iteration, and rounds after which columns that are done leave it
COLUMNS = 8192  # at a time


def project_nonnegative(
    volume: Tensor, scan: Tensor, operator: ThroughPlaneOperator, white: float, floor: float = 0.0
) -> None:
    """Change the columns of a volume that reproduces its scan, in place, to the nearest that are not negative either.

    argmin |x - x0|^2 with A x = y and x >= 0 is x = max(x0 + A^T l, 0), where l solves A max(x0 + A^T l, 0) = y: the
    dual of the projection, whose gradient is y - A x (Boyle and Dykstra 1986 alternate to the same point, far more
    slowly). It is climbed with steps of (A A^T)^-1, which bounds its curvature, and Nesterov's momentum.
    Where noise makes both impossible the dual has no end: it is clipped after every step, so that it moves no voxel by
    more than :data:`MOST`, and A x = y is made exact, which leaves some of the voxels below zero. Where the clip is
    reached the result is not the nearest of any set; elsewhere it is.

    Args:
        volume: ``(..., n)`` with A x = y.
        scan: ``(..., m)`` y, at least ``floor``.
        operator: A, whose rows of measured slices have sum one.
        white: the white level.
        floor: what x may not go below, instead of 0.
    """
    columns, slices = volume.view(-1, volume.shape[-1]), scan.reshape(-1, scan.shape[-1])
    matrix = operator.matrix.float()
    step = torch.linalg.pinv(operator.matrix @ operator.matrix.T).float()
    seen = operator.seen.float()
    touched = (columns.amin(1) < floor - TOUCHED * white).nonzero()[:, 0]
    for some in touched.split(COLUMNS):
        start, y = (columns[some] - floor) / white, (slices[some] - floor) / white * seen
        x, held = _climb(start, y, matrix, step)
        exact = (white * operator.replace(x.double(), y.double())).float()
        columns[some] = torch.where(held[:, None], white * x, exact) + floor


def _climb(start: Tensor, y: Tensor, matrix: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest columns that are not negative, and which of them reproduce their slices."""
    found, held = torch.empty_like(start), torch.zeros(len(start), dtype=torch.bool)
    left = torch.arange(len(start))
    bound = MOST / float(matrix.sum(0).max())
    dual = ahead = torch.zeros_like(y)
    momentum = 1.0
    for round_ in range(1, ROUNDS + 1):
        x = torch.addmm(start, ahead, matrix).clamp_min_(0)
        raised = torch.addmm(ahead, y - x @ matrix.T, step).clamp_(-bound, bound)
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = raised + (momentum - 1) / following * (raised - dual)
        dual, momentum = raised, following
        if round_ % CHECKED and round_ < ROUNDS:
            continue
        x = torch.addmm(start, dual, matrix).clamp_min_(0)
        done = (y - x @ matrix.T).abs().amax(1) < HELD
        found[left], held[left] = x, done
        if done.all():
            break
        left, start, y, dual, ahead = (v[~done] for v in (left, start, y, dual, ahead))
    return found, held
