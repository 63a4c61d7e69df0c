"""Self-super-resolution: a network trained on the slices of this scan alone."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from focvs.acquisition.degradation import make_degradation
from focvs.reconstruction.problem import Problem

FEATURES, EXPANSION, BLOCKS = 16, 4, 4  # of the network of self-super-resolution
PATCH, BATCH, LEARNING_RATE = 48, 16, 2e-3
LEAST_HEAD = 0.25  # of a training patch


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

    In-plane patches are degraded with the scan's own profile and spacing along one axis, which gives pairs of blurred
    and sharp images. The network trained on them sharpens the interpolated scan in each of the two planes that contain
    the slice axis, and the mean of both is returned. Unlike those methods it works at the resolution of the result.
    """
    network = _train(problem)
    start = problem.interpolated
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
        loss = (network(degrade.interpolated(sharp)) - sharp).abs().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        schedule.step()
    return network
