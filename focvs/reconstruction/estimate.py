"""What a run will take, said before it starts: evaluations, minutes and memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from focvs.config import parse_auto
from focvs.hardware import usable_memory_mib
from focvs.parallel import cores
from focvs.priors.planes import pixels_at_once
from focvs.priors.prior import Prior
from focvs.reconstruction.batches import VOLUMES_PER_SAMPLE
from focvs.reconstruction.case import Case
from focvs.reconstruction.plan import Plan
from focvs.reconstruction.progress import in_words
from focvs.reconstruction.setup import levels_of
from focvs.reconstruction.voxels import voxel_window
from focvs.run_config import Planes, RunConfig

# the peaks of two heads, 192 x 224 x 192 and 512 x 512 x 300 voxels (docs/speed.md)
PROCESS_MIB = 400.0  # of the program with its libraries and a network, before anything is read
WHOLE_VOLUMES = 17.0  # of the field of view in float32, held at once
BYTES_PER_PIXEL = 1300.0  # of activations for each pixel that is evaluated at once
REST = 1.15  # seconds of a run for each second of its networks


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        evaluations: of networks on all slices of a plane.
        seconds: from the start of sampling.
        memory_mib: at most, of the process.
    """

    evaluations: int
    seconds: float
    memory_mib: float

    def __str__(self) -> str:
        free = usable_memory_mib()
        much = "" if free is None or free > self.memory_mib else f", more than the {free / 1024:.1f} GiB that are free"
        return (
            f"{self.evaluations} evaluations of the network, about {in_words(self.seconds)}, and up to "
            f"{self.memory_mib / 1024:.1f} GiB of memory{much}"
        )


def evaluations(plan: Plan, config: RunConfig, prior: Prior) -> int:
    """How many times a network is evaluated on all slices of a plane, or on the whole volume; not of the deviation."""
    levels = len(plan.sigmas)
    if config.sampler.name == "mean":
        return levels * _of_a_stage(config, prior) + residual_evaluations(config, prior)
    return levels * config.samples * (2 if prior.dimensions == 2 and config.planes is Planes.average else 1)


def work(plan: Plan, config: RunConfig, prior: Prior) -> int:
    """The same with those of the deviation."""
    count = evaluations(plan, config, prior)
    return count + (_of_a_stage(config, prior) if deviates(config, prior) else 0)


def _of_a_stage(config: RunConfig, prior: Prior) -> int:
    """Evaluations of one stage of a mean."""
    both = prior.dimensions == 2 and config.planes in (Planes.average, Planes.alternate)
    return config.sampler.mirrors * (2 if both else 1)


def residual_evaluations(config: RunConfig, prior: Prior) -> int:
    """How often the network of samples around a mean is evaluated."""
    if config.sampler.name != "mean" or prior.residual is None:
        return 0
    return config.samples * levels_of(config) * (2 if config.planes is Planes.average else 1)


def deviates(config: RunConfig, prior: Prior) -> bool:
    """Whether the prior is asked how far its mean may be off."""
    return config.sampler.name == "mean" and prior.deviation is not None


def estimate_run(case: Case, plan: Plan, config: RunConfig, seconds_per_pixel: float) -> Estimate:
    """Estimate from the time of a small evaluation.

    Args:
        case: the scan and the prior.
        plan: noise levels.
        config: sampler, samples and planes.
        seconds_per_pixel: of one evaluation on this device.
    """
    prior, grid = case.prior, case.acquisition.grid
    count = evaluations(plan, config, prior)
    window = voxel_window(grid, case.slices.region.slices)
    box = case.slices.y.shape[:2].numel() * (window.stop - window.start)
    whole = case.scan.data[..., 0].size * grid.voxels
    drawn = residual_evaluations(config, prior)
    cost = float(count - drawn)
    for network, times in ((prior.deviation, work(plan, config, prior) - count), (prior.residual, drawn)):
        if network is not None:
            cost += times * _parameters(network) / _parameters(_network(prior))
    at_once = pixels_at_once(torch.device(case.device)) * (cores() if case.device == "cpu" else 1)
    held = (WHOLE_VOLUMES * whole + (config.samples + 2 * (parse_auto("batch", config.batch) or 1)) * box) * 4
    others = min(config.devices, config.samples) - 1  # processes besides this one
    if others > 0:
        held += others * (PROCESS_MIB * 2**20 + VOLUMES_PER_SAMPLE * box * 4)
    return Estimate(
        count,
        REST * cost * box * seconds_per_pixel,
        PROCESS_MIB + (held + BYTES_PER_PIXEL * min(at_once, box)) / 2**20,
    )


def _parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _network(prior: Prior) -> torch.nn.Module:
    return prior.denoise if isinstance(prior.denoise, torch.nn.Module) else prior.denoise.denoise
