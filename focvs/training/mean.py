"""Training: the mean E[volume | scan], the deviation of its error, what it leaves open, an unconditional prior."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from focvs.priors.mean_network import SlabUNet2D
from focvs.training.muon import MuonAdamW
from focvs.training.objectives import objective_of

log = logging.getLogger(__name__)

STATE = "state.pt"
SEEDS = 1000  # seeds of a plan, each with noise of its own
Network = TypeVar("Network", bound=SlabUNet2D)


class Batches(Protocol):
    """Where batches come from, each a function of the step alone."""

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Clean slices ``(size, 1, h, w)``, or slabs, and what the network sees ``(size, c, h, w)``, the scan first."""


@dataclass(frozen=True)
class MeanPlan:
    """How to train a mean. Steps are optimiser steps.

    The learning rate warms up linearly, stays, and falls linearly to zero over the last ``decay_steps``, so that
    ``steps`` can be raised between resumptions for as long as it has not begun to fall.
    """

    steps: int
    batch_size: int = 16
    learning_rate: float = 1.5e-3
    adamw_learning_rate: float = 5e-4
    warmup_steps: int = 200
    decay_steps: int = 4000
    ema_decay: float = 0.998
    gradient_clip: float = 1.0
    checkpoint_every: int = 250
    bfloat16: bool = True
    seed: int = 0

    def learning_rate_factor(self, step: int) -> float:
        """Multiplier of the learning rates at ``step``."""
        warm = min(1.0, (step + 1) / max(self.warmup_steps, 1))
        return warm * min(1.0, max(0.0, (self.steps - step) / max(self.decay_steps, 1)))


def train_mean(
    network: Network,
    pool: Batches,
    plan: MeanPlan,
    folder: Path,
    save: Callable[[Network, Path], None],
    device: str = "cpu",
) -> Network:
    """Train ``network`` and return its exponential moving average.

    What each kind learns by is in :mod:`focvs.training.objectives`.

    Args:
        network: raw network.
        pool: the patches.
        plan: see :class:`MeanPlan`.
        folder: gets ``state.pt`` (to resume from), ``ema/`` (the weights to use) and ``log.jsonl``; a run that finds
            ``state.pt`` goes on from there.
        save: writes a network into a folder.
        device: torch device.
    """
    folder.mkdir(parents=True, exist_ok=True)
    nn.Module.to(network, device).train()
    for parameter in network.parameters():  # convolutions of these are the fast ones
        parameter.data = _channels_last(parameter.data)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(plan.ema_decay))
    averaged = cast(Network, average.module)
    optimiser = MuonAdamW(network, learning_rate=plan.learning_rate, adamw_learning_rate=plan.adamw_learning_rate)
    first = 0
    if (folder / STATE).is_file():
        state = torch.load(folder / STATE, map_location=device, weights_only=True)
        network.load_state_dict(state["network"])
        average.load_state_dict(state["average"])
        optimiser.load_state_dict(state["optimiser"])
        first = state["step"]
        log.info("resumed at step %d of %d", first, plan.steps)
    objective = objective_of(network)
    losses: list[float] = []
    gains: list[float] = []
    began = time.monotonic()
    for step in range(first, plan.steps):
        clean, images = (t.to(device) for t in pool.batch(step, plan.batch_size))
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=plan.bfloat16):
            each, relative = objective(network, clean, images, plan.seed + SEEDS * step)
        loss = each.mean()
        loss.backward()
        norm = float(torch.nn.utils.clip_grad_norm_(network.parameters(), plan.gradient_clip))
        if math.isfinite(norm):
            optimiser.step(plan.learning_rate_factor(step))
            losses.append(float(loss.detach()))
            gains.append(float(-10 * relative.detach().log10().mean()))
        else:
            log.warning("step %d was skipped: its gradients were not finite", step)
        network.zero_grad(set_to_none=True)
        average.update_parameters(network)
        done = step + 1
        if done % plan.checkpoint_every == 0 or done == plan.steps:
            state = {"network": network.state_dict(), "average": average.state_dict(), "step": done}
            _checkpoint(state | {"optimiser": optimiser.state_dict()}, folder)
            save(averaged, folder / "ema")
            seconds = time.monotonic() - began
            record = {
                "step": done,
                "loss": round(sum(losses) / max(len(losses), 1), 5),
                "gain_db": round(sum(gains) / max(len(gains), 1), 4),
                "seconds": round(seconds, 1),
                "patches_per_second": round((done - first) * plan.batch_size / seconds, 2),
            }
            with (folder / "log.jsonl").open("a") as stream:
                stream.write(json.dumps(record) + "\n")
            log.info("%s", record)
            losses.clear()
            gains.clear()
    return averaged


def _checkpoint(state: dict[str, object], folder: Path) -> None:
    """Replace the state by a rename, so that a kill at any moment leaves a whole one."""
    torch.save(state, folder / f"{STATE}.part")
    (folder / f"{STATE}.part").rename(folder / STATE)


def _channels_last(tensor: Tensor) -> Tensor:
    return tensor.contiguous(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor
