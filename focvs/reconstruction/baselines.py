"""Other ways from slices to voxels, on the forward model FOCVS uses: what a prior has to beat.

Every method takes a :class:`Problem` and returns the volume ``(p, q, n)`` in the units of its slices.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from skimage.restoration import denoise_tv_chambolle
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from focvs.acquisition.degradation import make_degradation
from focvs.acquisition.interpolation import OVERLAP_CONDITION, interpolation_matrix, spline_matrix
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.config import RunConfig
from focvs.reconstruction.forward_model import Acquisition
from focvs.reconstruction.restoration import Restoration
from focvs.reconstruction.voxels import blank_voxels, hold
from focvs.scan.head import head_mask
from focvs.scan.scan import Scan
from focvs.scan.slices import Slices
from focvs.scan.units import intensity_scale

FEATURES, EXPANSION, BLOCKS = 16, 4, 4  # of the network of self-super-resolution
PATCH, BATCH, LEARNING_RATE = 48, 16, 2e-3
LEAST_HEAD = 0.25  # of a training patch
CHAMBOLLE = 10  # iterations of each proximal step
# of the implicit representation
CELLS = (16, 8, 4, 2, 1)  # voxels between the points of its grids
CELL_FEATURES, HIDDEN, GRID_RATE = 2, 32, 2e-2
SHARE_OF_HEAD = 1 / 50  # of the head's columns that a step sees
SHARE_ELSEWHERE = 1 / 8  # of as many columns, from anywhere
AT_ONCE = 1024  # columns written out


@dataclass(frozen=True, eq=False)
class Problem:
    """What a method is given.

    Attributes:
        y: ``(p, q, m)`` slices, the head of order one.
        operator: A to ``n`` voxels, without margins.
        mask: ``(p, q, m)`` head.
        tv_weight: of total variation against the data.
        iterations: of total variation.
        steps: training steps of self-super-resolution and of the implicit representation.
        seed: of their weights and of what a step sees.
    """

    y: Tensor
    operator: ThroughPlaneOperator
    mask: Tensor
    tv_weight: float = 0.001
    iterations: int = 20
    steps: int = 600
    seed: int = 0


def nearest(problem: Problem) -> Tensor:
    """The slice nearest to each voxel."""
    grid = problem.operator.grid
    return problem.y[..., grid.crop(grid.nearest_slices)]


def linear(problem: Problem) -> Tensor:
    """Linear between slice centres, the outermost slices continued."""
    last = problem.y.shape[-1] - 1
    grid = problem.operator.grid
    place = grid.crop(grid.voxel_places).clamp(0, last)
    below = place.floor().long().clamp(max=max(0, last - 1))
    share = (place - below).to(problem.y)
    return problem.y[..., below] * (1 - share) + problem.y[..., (below + 1).clamp(max=last)] * share


def spline(problem: Problem) -> Tensor:
    """Cubic B-spline with the same field of view."""
    return problem.y @ spline_matrix(problem.operator.grid, margins=False).to(problem.y).T


def replaced(problem: Problem) -> Tensor:
    """Cubic B-spline and one exact replacement (unless slices overlap)."""
    return problem.y @ interpolation_matrix(problem.operator).to(problem.y).T


def pseudo_inverse(problem: Problem) -> Tensor:
    """A^+ y: of all volumes that reproduce the scan the smallest."""
    return problem.operator.pseudo_inverse(problem.y)


def total_variation(problem: Problem) -> Tensor:
    """argmin 1/2 |A x - y|^2 + w TV(x), isotropic and three-dimensional.

    FISTA (Beck and Teboulle 2009, section 4) from the replaced spline; the proximal step is scikit-image's (Chambolle
    2004).
    """
    step = 1 / float(problem.operator.svd[1][0]) ** 2
    x = momentum = replaced(problem)
    pace = 1.0
    for _ in range(problem.iterations):
        gradient = problem.operator.adjoint(problem.operator(momentum) - problem.y)
        moved = (momentum - step * gradient).numpy()
        smooth = denoise_tv_chambolle(moved, weight=step * problem.tv_weight, max_num_iter=CHAMBOLLE)
        following = torch.from_numpy(smooth).to(x)
        faster = (1 + math.sqrt(1 + 4 * pace**2)) / 2
        momentum = following + (pace - 1) / faster * (following - x)
        x, pace = following, faster
    return x


class WideResidualNetwork(nn.Module):
    """Residual blocks with wide activations and weight normalisation (Yu et al. 2018, WDSR-A), at one resolution."""

    def __init__(self) -> None:
        super().__init__()

        def layer(old: int, new: int) -> nn.Conv2d:
            return cast(nn.Conv2d, weight_norm(nn.Conv2d(old, new, 3, padding=1)))

        self.head, self.tail = layer(1, FEATURES), layer(FEATURES, 1)
        # begun as the interpolated scan itself
        parts: Any = self.tail.parametrizations
        nn.init.zeros_(parts.weight.original0)
        nn.init.zeros_(cast(Tensor, self.tail.bias))
        self.blocks = nn.ModuleList(
            nn.Sequential(layer(FEATURES, FEATURES * EXPANSION), nn.ReLU(), layer(FEATURES * EXPANSION, FEATURES))
            for _ in range(BLOCKS)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Interpolated images ``(b, 1, h, w)``, slices along the last axis, to what they look like sharp."""
        features = self.head(x)
        for block in self.blocks:
            features = features + block(features)
        return x + self.tail(features)


def self_super_resolution(problem: Problem) -> Tensor:
    """A network trained on this scan alone, as SMORE (Zhao et al. 2021) and ECLARE (Remedios et al. 2025) do.

    In-plane patches, seen through the scan's own profile and spacing along one of their axes, are pairs of dull and
    sharp images; the network learned on them sharpens the two planes that contain the slice axis, whose mean is
    returned. Unlike those methods it works on the interpolated scan, at the resolution of the result.
    """
    network = _train(problem)
    start = replaced(problem)
    total = torch.zeros_like(start)
    network.eval()
    with torch.inference_mode():
        for across in (0, 1):
            for i, image in enumerate(start.movedim(across, 0)):
                total.select(across, i).add_(network(image[None, None])[0, 0])
    return total / 2


def _train(problem: Problem) -> WideResidualNetwork:
    """The network of :func:`self_super_resolution`, trained with the L1 loss and Adam on random in-plane patches.

    A pixel stands for a voxel of the result, so that images are as dull in training as later.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(problem.seed)
        network = WideResidualNetwork()
    optimiser = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=problem.steps)
    rng = np.random.default_rng(problem.seed)
    images, masks = (v.movedim(-1, 0) for v in (problem.y, problem.mask))
    edge = min(PATCH, *images.shape[1:])
    share = nn.functional.avg_pool2d(masks[:, None].float(), edge, stride=1)[:, 0]
    places = (share >= min(LEAST_HEAD, float(share.max()))).nonzero()
    grid = problem.operator.grid
    profile, spacing_px = problem.operator.profile.scaled(1 / grid.voxel_mm), grid.spacing_mm / grid.voxel_mm
    for _ in range(problem.steps):
        turned = int(rng.integers(2))  # the axis that plays the slice axis
        degrade = make_degradation(profile, spacing_px, edge, float(rng.random()))
        chosen = places[rng.integers(len(places), size=BATCH)]
        sharp = torch.stack([images[k, i : i + edge, j : j + edge] for k, i, j in chosen.tolist()])[:, None]
        if turned == 0:
            sharp = sharp.mT
        sharp = sharp.flip([axis for axis in (-2, -1) if rng.random() < 0.5])
        loss = (network(degrade(sharp)) - sharp).abs().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return network


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


METHODS: dict[str, Callable[[Problem], Tensor]] = {
    "nearest": nearest,
    "linear": linear,
    "spline": spline,
    "replaced": replaced,
    "pseudo_inverse": pseudo_inverse,
    "total_variation": total_variation,
    "self_super_resolution": self_super_resolution,
    "implicit_representation": implicit_representation,
}
EXACT = ("replaced", "pseudo_inverse")  # reproduce the scan, unless slices overlap


def restore_without_prior(scan: Scan, slices: Slices, acquisition: Acquisition, config: RunConfig) -> Restoration:
    """One of :data:`focvs.reconstruction.baselines.METHODS` on the whole scan; no uncertainty."""
    scale = intensity_scale(scan.data)
    data, numbers = torch.from_numpy(scan.data), config.baseline
    problem = Problem(
        data / scale,
        acquisition.written,
        torch.from_numpy(head_mask(scan.data, scale)),
        numbers.tv_weight,
        numbers.tv_iterations,
        numbers.training_steps,
        config.seed,
    )
    mean = (METHODS[config.method](problem) * scale).float()
    mean[blank_voxels(data, acquisition.grid)] = 0
    exact = acquisition.written.condition_number <= OVERLAP_CONDITION and config.method in EXACT
    if exact:
        hold(mean, scan, acquisition)
    return Restoration(
        images={"mean": mean.numpy()},
        samples=iter(()),
        rule=config.method,
        exact=exact,
        noise_sigma=slices.noise_sigma * scale / 2,
        chi2_before_last_replacement=None,
        seeds=[config.seed],
        warnings=[*scan.warnings, *acquisition.thickness.warnings],
    )
