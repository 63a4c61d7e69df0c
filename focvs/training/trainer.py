"""Training of a prior with accelerate: EDM loss, EMA, checkpoints that resume to the bit.

Several processes share the patches of every step and average their gradients: on a CPU a process for every core is
faster than one with all of them.
"""

from __future__ import annotations

import itertools
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset, Subset

from focvs.priors.condition import ScanCondition, middle
from focvs.priors.denoiser import EDMDenoiser
from focvs.priors.networks import HaarUNet2D

if TYPE_CHECKING:
    from focvs.priors.networks3d import HaarUNet3D

    Network: TypeAlias = HaarUNet2D | HaarUNet3D

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingPlan:
    """How long and how to train. Steps are optimiser steps.

    ``sigma_log_mean`` and ``sigma_log_std`` describe the lognormal noise levels (natural logarithm, prior
    units), cut to ``sigma_range``. The learning rate warms up linearly, stays, and falls linearly to zero
    over the last ``decay_steps``, so that ``steps`` can be raised or lowered between resumptions. Steps whose
    gradients are not finite are skipped, and counted in the log.
    """

    steps: int
    batch_size: int = 12
    learning_rate: float = 6e-4
    warmup_steps: int = 200
    decay_steps: int = 1500
    ema_decay: float = 0.998
    sigma_log_mean: float = -1.3
    sigma_log_std: float = 0.95
    sigma_range: tuple[float, float] = (0.002, 3.0)
    gradient_clip: float = 1.0
    workers: int = 1
    checkpoint_every: int = 250
    mixed_precision: str = "no"
    seed: int = 0

    def learning_rate_factor(self, step: int) -> float:
        """Multiplier of the learning rate at ``step``."""
        warm = min(1.0, (step + 1) / max(self.warmup_steps, 1))
        return warm * min(1.0, max(0.0, (self.steps - step) / max(self.decay_steps, 1)))

    def draw_noise(self, step: int, shape: torch.Size) -> tuple[Tensor, Tensor]:
        """Noise levels ``(b,)`` and unit noise of a step; a function of seed and step alone."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        log_sigma = torch.randn(shape[0], generator=generator) * self.sigma_log_std + self.sigma_log_mean
        sigma = log_sigma.exp().clamp(*self.sigma_range)
        return sigma, torch.randn(shape, generator=generator)


def cpu_processes() -> bool:
    """Whether this is one of several training processes, as torchrun starts them, on a machine without CUDA."""
    return "LOCAL_RANK" in os.environ and not torch.cuda.is_available()


def _average_gradients(accelerator: Accelerator, parameters: Iterable[nn.Parameter]) -> None:
    """Mean of the gradients of all processes, in one message; the network stays bare, so that states fit any number."""
    gradients = [p.grad for p in parameters if p.grad is not None]
    if accelerator.num_processes > 1:
        mean = accelerator.reduce(parameters_to_vector(gradients), "mean")
        vector_to_parameters(mean, gradients)


def train(
    network: Network,
    dataset: Dataset[tuple[Tensor, Tensor, Tensor, Tensor]],
    plan: TrainingPlan,
    folder: Path,
    save: Callable[[Network, Path], None],
) -> Network:
    """Train ``network`` and return its exponential moving average.

    Args:
        network: raw network.
        dataset: as :class:`focvs.training.datasets.PatchDataset`, items a function of the index alone.
        plan: see :class:`TrainingPlan`.
        folder: gets ``state/`` (to resume from), ``ema/`` (the weights to use) and ``log.jsonl``; a run that
            finds ``state/`` goes on from there.
        save: writes a network into a folder.
    """
    accelerator = Accelerator(mixed_precision=plan.mixed_precision, cpu=cpu_processes())
    share, left_over = divmod(plan.batch_size, accelerator.num_processes)
    if left_over:
        raise ValueError(
            f"plan.batch_size={plan.batch_size} cannot be shared by {accelerator.num_processes} processes; "
            "give a multiple of them."
        )
    mine = slice(accelerator.process_index * share, (accelerator.process_index + 1) * share)
    torch.manual_seed(plan.seed)
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(plan.ema_decay))
    averaged = cast("Network", average.module)
    denoiser = EDMDenoiser(network)
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.learning_rate, weight_decay=0.01)
    denoiser = accelerator.prepare_model(denoiser, evaluation_mode=True)  # evaluation: not wrapped for processes
    optimiser = accelerator.prepare_optimizer(optimiser)
    average.to(accelerator.device)
    accelerator.register_for_checkpointing(average)

    first = 0
    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        _recover(folder)
    accelerator.wait_for_everyone()
    if (folder / "state").is_dir():
        accelerator.load_state(str(folder / "state"))
        first = json.loads((folder / "state" / "step.json").read_text())["step"]
        log.info("resumed at step %d of %d", first, plan.steps)
    batches = (range(step * plan.batch_size, (step + 1) * plan.batch_size)[mine] for step in range(first, plan.steps))
    indices = list(itertools.chain.from_iterable(batches))
    loader = DataLoader(Subset(dataset, indices), share, num_workers=plan.workers)

    losses: list[float] = []
    skipped = 0
    began = time.monotonic()
    for step, (clean, scan, numbers, alone) in enumerate(loader, start=first):
        clean = clean.to(accelerator.device)
        condition = None
        if network.conditioned:
            condition = ScanCondition(scan.to(accelerator.device), *numbers.to(accelerator.device).unbind(1))
        whole = torch.Size((plan.batch_size, *clean.shape[1:]))
        sigma, noise = (t[mine].to(accelerator.device) for t in plan.draw_noise(step, whole))
        noise = torch.where(alone.to(accelerator.device).view(-1, *[1] * (clean.ndim - 1)), middle(noise), noise)
        for group in optimiser.param_groups:
            group["lr"] = plan.learning_rate * plan.learning_rate_factor(step)
        with accelerator.autocast():
            loss = denoiser.loss(clean, sigma, noise, condition).mean()
        accelerator.backward(loss)
        _average_gradients(accelerator, denoiser.parameters())
        norm = float(accelerator.clip_grad_norm_(denoiser.parameters(), plan.gradient_clip))
        if math.isfinite(norm):
            optimiser.step()
            losses.append(float(accelerator.reduce(loss.detach(), "mean")))
        else:
            skipped += 1
        optimiser.zero_grad(set_to_none=True)
        average.update_parameters(network)
        done = step + 1
        if done % plan.checkpoint_every == 0 or done == plan.steps:
            if accelerator.is_main_process:
                _save_state(accelerator, averaged, folder, done, save)
            accelerator.wait_for_everyone()
            record = {
                "step": done,
                "loss": round(sum(losses) / len(losses), 5) if losses else None,
                "seconds": round(time.monotonic() - began, 1),
            }
            if skipped:
                record["skipped"] = skipped
                log.warning("%d steps were skipped: their gradients were not finite", skipped)
            if accelerator.is_main_process:
                with (folder / "log.jsonl").open("a") as stream:
                    stream.write(json.dumps(record) + "\n")
                log.info("step %(step)d loss %(loss)s after %(seconds).0f s", record)
            losses.clear()
            skipped = 0
    return averaged


def carry_over(trained: nn.Module, network: nn.Module) -> None:
    """Copy weights of a trained network into a new one of the same kind.

    Input channels the trained one did not have start at zero and layers it did not have stay as they are, so that an
    unconditional prior becomes a conditioned one that ignores the scan at first.
    """
    known = network.state_dict()
    for name, value in trained.state_dict().items():
        if known[name].shape == value.shape:
            known[name] = value
        else:
            known[name] = torch.zeros_like(known[name])
            known[name][tuple(slice(n) for n in value.shape)] = value
    network.load_state_dict(known)


def _save_state(
    accelerator: Accelerator, averaged: Network, folder: Path, step: int, save: Callable[[Network, Path], None]
) -> None:
    """Replace ``state/`` and ``ema/`` so that a kill at any moment leaves one whole checkpoint to recover."""
    fresh, old = folder / "state.part", folder / "state.old"
    shutil.rmtree(fresh, ignore_errors=True)
    accelerator.save_state(str(fresh))
    (fresh / "step.json").write_text(json.dumps({"step": step}))
    if (folder / "state").is_dir():
        shutil.rmtree(old, ignore_errors=True)
        (folder / "state").rename(old)
    fresh.rename(folder / "state")
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(folder / "ema.part", ignore_errors=True)
    save(averaged, folder / "ema.part")
    shutil.rmtree(folder / "ema", ignore_errors=True)
    (folder / "ema.part").rename(folder / "ema")


def _recover(folder: Path) -> None:
    """Put a checkpoint in place that a kill left between two renames."""
    for name in ("state.part", "state.old"):
        if not (folder / "state").is_dir() and (folder / name / "step.json").is_file():
            (folder / name).rename(folder / "state")
