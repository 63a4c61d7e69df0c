"""An implicit representation: a function of place fitted to the scan."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from focvs.reconstruction.problem import Problem

CELLS = (16, 8, 4, 2, 1)  # voxels between the points of its grids
CELL_FEATURES, HIDDEN, GRID_RATE = 2, 32, 2e-2
SHARE_OF_HEAD = 1 / 50  # of the head's columns that a step sees
SHARE_ELSEWHERE = 1 / 8  # of as many columns, from anywhere
AT_ONCE = 1024  # columns written out


class FeatureGrids(nn.Module):
    """Intensity as a function of place: features interpolated from grids of several cell sizes, and a small network.

    As in instant neural graphics primitives (Mueller et al. 2022, section 3), the grids dense instead of hashed.
    """

    def __init__(self, shape: tuple[int, ...]):
        super().__init__()
        sizes = [[max(2, math.ceil(n / cell) + 1) for n in shape] for cell in CELLS]
        self.grids = nn.ParameterList(1e-4 * torch.randn(1, CELL_FEATURES, *size) for size in sizes)
        self.network = nn.Sequential(
            nn.Linear(CELL_FEATURES * len(CELLS), HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.ReLU(),
            nn.Linear(HIDDEN, 1),
        )

    def forward(self, places: Tensor) -> Tensor:
        """Places ``(columns, n, 3)`` in [-1, 1] to intensities ``(columns, n)``."""
        where = places.flip(-1)[None, :, :, None]  # grid_sample counts axes from the last
        features = [nn.functional.grid_sample(grid, where, align_corners=True)[0, ..., 0] for grid in self.grids]
        out: Tensor = self.network(torch.cat(features).permute(1, 2, 0))
        return out.squeeze(-1)


def implicit_representation(problem: Problem) -> Tensor:
    """A function of place, fitted so that its slices, seen through A, are those of the scan.

    As in Wu et al. 2021 (IREM) and McGinnis et al. 2023, for one stack and with grids of features in place of Fourier
    features, which needs fewer steps and more memory, about ten numbers of 4 bytes for every voxel. What it says
    between slices follows from its form alone.
    """
    p, q, n = *problem.y.shape[:2], problem.operator.matrix.shape[1]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(problem.seed)
        field = FeatureGrids((p, q, n))
    optimiser = torch.optim.Adam(field.parameters(), GRID_RATE, betas=(0.9, 0.99), eps=1e-15)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, GRID_RATE, total_steps=problem.steps, cycle_momentum=False
    )
    generator = torch.Generator().manual_seed(problem.seed)
    seen, matrix = problem.y.flatten(0, 1).float(), problem.operator.matrix.float()
    head = problem.mask.any(-1).flatten().nonzero()[:, 0]
    inside = math.ceil(SHARE_OF_HEAD * len(head))
    outside = math.ceil(SHARE_ELSEWHERE * inside)
    along = torch.linspace(-1, 1, n)

    def places(columns: Tensor) -> Tensor:
        across = torch.stack([2 * (columns // q) / max(p - 1, 1) - 1, 2 * (columns % q) / max(q - 1, 1) - 1], dim=-1)
        repeated = across[:, None].expand(-1, n, -1)
        return torch.cat([repeated, along[None, :, None].expand(len(columns), -1, -1)], dim=-1)

    for _ in range(problem.steps):
        among_head = head[torch.randint(len(head), (inside,), generator=generator)]
        columns = torch.cat([among_head, torch.randint(p * q, (outside,), generator=generator)])
        loss = (field(places(columns)) @ matrix.T - seen[columns]).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    with torch.inference_mode():
        parts = [field(places(columns)) for columns in torch.arange(p * q).split(AT_ONCE)]
    return torch.cat(parts).view(p, q, n).to(problem.y)
