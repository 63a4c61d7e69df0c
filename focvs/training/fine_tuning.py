"""Scan-specific adaptation: a few hundred steps on the scan's own in-plane slices.

In-plane slices are sharp where the through-plane direction is not; seen through the scan's own acquisition turned
in-plane they are pairs of what was measured and what is wanted (self-supervision after Zhao et al. 2021, SMORE, and
Remedios et al. 2023, ECLARE), here for every noise level of a diffusion prior, or for the first stage of a mean.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from focvs.acquisition.degradation import Degradation
from focvs.priors.condition import ScanCondition
from focvs.priors.denoiser import EDMDenoiser
from focvs.priors.diffusion_network import DiffusionUNet2D
from focvs.priors.mean_network import MeanUNet2D
from focvs.priors.networks import HaarUNet2D
from focvs.priors.precision import lay_out
from focvs.training.muon import MuonAdamW
from focvs.training.objectives import relative_error

Adaptable = HaarUNet2D | DiffusionUNet2D | MeanUNet2D
METHODS = ("full", "lora")
FEWEST_HEAD_PIXELS = 0.3  # fraction of a patch that must be head
WARM_STEPS = 10  # of Muon, over which its rate rises


@dataclass(frozen=True)
class AdaptationPlan:
    """How to adapt; noise levels, of a diffusion prior, are lognormal in prior units.

    Attributes:
        steps: optimiser steps.
        learning_rate: of Adam, falling to zero as a half cosine. For a mean with ``method=full`` it is Muon's, and
            AdamW gets a third of it.
        method: ``full`` (all weights) or ``lora`` (low-rank additions to the convolutions and linear layers).
        rank: of the low-rank additions.
        batch_size: patches per step.
        patch: their edge in pixels.
        sigma_log_mean: mean of the logarithm of the noise level.
        sigma_log_std: its standard deviation.
        seed: of patches and noise.
    """

    steps: int = 300
    learning_rate: float = 2e-4
    method: str = "full"
    rank: int = 8
    batch_size: int = 8
    patch: int = 96
    sigma_log_mean: float = -1.3
    sigma_log_std: float = 0.95
    seed: int = 0


class LowRank(nn.Module):
    """W + B A on the flattened weight (Hu et al. 2022, equation 3); B starts at zero, A is drawn from a generator."""

    def __init__(self, weight: Tensor, rank: int, generator: torch.Generator):
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        rank = min(rank, rows, columns)
        start = torch.randn(rank, columns, generator=generator) / math.sqrt(columns)
        self.down = nn.Parameter(start.to(weight.device))
        self.up = nn.Parameter(torch.zeros(rows, rank, device=weight.device))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view_as(weight)


def adapt(
    network: Adaptable,
    slices: Tensor,
    mask: Tensor,
    acquisitions: list[Degradation],
    noise_sigma: float,
    plan: AdaptationPlan,
    callback: Callable[[int, float], None] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Adaptable:
    """A copy of ``network`` fine-tuned on slices of one scan; the network itself is not touched.

    Args:
        network: of a diffusion prior, or the first stage of a mean.
        slices: ``(k, 1, h, w)`` in prior units.
        mask: ``(k, 1, h, w)`` head.
        acquisitions: the scan's own, in pixels of the slices, for columns of ``plan.patch`` pixels, in several phases.
        noise_sigma: of the scan, prior units.
        plan: see :class:`AdaptationPlan`.
        callback: called with the steps done and the loss.
        dtype: that the network computes in; its weights stay float32.

    Raises:
        ValueError: for an unknown method, or slices without a patch of head.
    """
    if plan.method not in METHODS:
        raise ValueError(f"adaptation.method={plan.method} is not known; choose one of {', '.join(METHODS)}.")
    # everything is drawn from this, on the CPU, so that no other drawing and no device makes a difference
    generator = torch.Generator().manual_seed(plan.seed)
    tuned = deepcopy(network).train().requires_grad_(plan.method == "full")
    lay_out(tuned)  # Muon works on the weights of hidden convolutions in place only where channels are last
    if plan.method == "lora":
        layers = [m for m in tuned.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        for layer in layers:
            parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, plan.rank, generator))
            layer.parametrizations["weight"].original.requires_grad_(False)  # type: ignore[union-attr, index]

    def draw() -> tuple[Tensor, ScanCondition | None]:
        clean = _patches(slices, mask, plan.patch, plan.batch_size, generator)
        if not isinstance(tuned, MeanUNet2D) and not tuned.conditioned:
            return clean, None
        acquisition = acquisitions[int(torch.randint(len(acquisitions), (1,), generator=generator))]
        white = torch.randn(*clean.shape[:-1], acquisition.slices, generator=generator).to(clean)
        return clean, ScanCondition.simulated(acquisition, clean, noise_sigma, white)

    loss_of = _loss_of_mean(tuned) if isinstance(tuned, MeanUNet2D) else _loss_of_denoiser(tuned, plan, generator)
    parameters = [p for p in tuned.parameters() if p.requires_grad]
    advance = _optimiser(tuned, parameters, plan)
    for step in range(plan.steps):
        pair = draw()
        with torch.autocast(slices.device.type, dtype) if dtype != torch.float32 else nullcontext():
            loss = loss_of(*pair).mean()
        tuned.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        advance(step)
        if callback:
            callback(step + 1, float(loss.detach()))
    if plan.method == "lora":
        for layer in layers:
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return tuned.eval().requires_grad_(False)


def _loss_of_denoiser(
    network: HaarUNet2D | DiffusionUNet2D, plan: AdaptationPlan, generator: torch.Generator
) -> Callable[[Tensor, ScanCondition | None], Tensor]:
    """Denoising loss of each patch at a random level."""
    denoiser = EDMDenoiser(network)

    def loss(clean: Tensor, told: ScanCondition | None) -> Tensor:
        log_sigma = plan.sigma_log_mean + plan.sigma_log_std * torch.randn(len(clean), generator=generator)
        noise = torch.randn(clean.shape, generator=generator).to(clean)
        return denoiser.loss(clean, log_sigma.exp().clamp(0.01, 3.0).to(clean), noise, told)

    return loss


def _loss_of_mean(network: MeanUNet2D) -> Callable[[Tensor, ScanCondition | None], Tensor]:
    """Error of each patch over that of its interpolated scan; slices as thick as a scan's stand alone."""

    def loss(clean: Tensor, told: ScanCondition | None) -> Tensor:
        assert told is not None
        return relative_error(network(told.image.expand(-1, network.slab, -1, -1)), clean, told.image)

    return loss


def _optimiser(network: nn.Module, parameters: list[nn.Parameter], plan: AdaptationPlan) -> Callable[[int], None]:
    """What updates the weights after a step, at a rate that falls to zero as a half cosine."""
    if isinstance(network, MeanUNet2D) and plan.method == "full":
        rate = plan.learning_rate
        muon = MuonAdamW(network, learning_rate=rate, adamw_learning_rate=rate / 3, weight_decay=0.0)
        return lambda step: muon.step(min(1.0, (step + 1) / WARM_STEPS) * _half_cosine(step / plan.steps))
    adam = torch.optim.Adam(parameters, lr=plan.learning_rate)

    def advance(step: int) -> None:
        for group in adam.param_groups:
            group["lr"] = plan.learning_rate * _half_cosine(step / plan.steps)
        adam.step()

    return advance


def _half_cosine(share: float) -> float:
    return (1 + math.cos(math.pi * share)) / 2


def _patches(slices: Tensor, mask: Tensor, size: int, count: int, generator: torch.Generator) -> Tensor:
    """``(count, 1, size, size)`` patches of mostly head, flipped and transposed at random, edges replicated."""

    def draw(high: int) -> int:
        return int(torch.randint(high, (1,), generator=generator))

    height, width = slices.shape[-2:]
    patches: list[Tensor] = []
    tries = 0
    while len(patches) < count:
        tries += 1
        if tries > 100 * count:
            raise ValueError(f"no {size} x {size} patch of the slices holds enough head to adapt to.")
        which, top, left = draw(len(slices)), draw(max(1, height - size + 1)), draw(max(1, width - size + 1))
        window = (which, slice(None), slice(top, top + size), slice(left, left + size))
        if float(mask[window].float().mean()) < FEWEST_HEAD_PIXELS:
            continue
        patch = slices[window]
        spare = (0, size - patch.shape[-1], 0, size - patch.shape[-2])
        if max(spare):
            patch = nn.functional.pad(patch[None], spare, mode="replicate")[0]
        flips = [axis for axis in (-1, -2) if draw(2)]
        patch = patch.flip(flips) if flips else patch
        patches.append(patch.mT if draw(2) else patch)
    return torch.stack(patches)
