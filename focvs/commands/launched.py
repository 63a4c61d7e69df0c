"""Under torchrun or ``accelerate launch``: the first process of a machine does the work, with processes of its own.

Launchers end every process of theirs as soon as one fails, which a folder with one bad scan would; our own workers and
devices do not. So the others of a machine have nothing to do.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, replace

from focvs.errors import InputError
from focvs.run_config import RunConfig

# what torch.distributed.run, which both launchers are, tells each process; the first is set by nothing else
VARIABLES = ("TORCHELASTIC_RUN_ID", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_RANK", "GROUP_WORLD_SIZE")
THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Launch:
    """Which of the processes that a launcher started this is.

    Attributes:
        rank: of this process among those of its machine, from 0.
        processes: of each machine.
        machine: from 0.
        machines: how many there are.
    """

    rank: int
    processes: int
    machine: int
    machines: int


def read_launch(environment: Mapping[str, str] | None = None) -> Launch | None:
    """What the launcher says; None where there is none."""
    variables = os.environ if environment is None else environment
    words = [variables.get(name, "") for name in VARIABLES]
    if not words[0] or not all(word.isdigit() for word in words[1:]):
        return None
    return Launch(*map(int, words[1:]))


def take_cores(launch: Launch, environment: MutableMapping[str, str] | None = None) -> None:
    """Take the threads of all processes of this machine: torchrun gives each of them one where nothing else is said."""
    variables = os.environ if environment is None else environment
    if variables.get(THREADS, "").isdigit():
        variables[THREADS] = str(int(variables[THREADS]) * launch.processes)


def divided(config: RunConfig, launch: Launch, several: bool) -> RunConfig:
    """The same with as many processes as were launched: workers of a folder, or of one scan devices for its samples.

    Machines take parts of a folder. What is given (``workers=``, ``devices=``, ``shard=``) stands.

    Args:
        config: of the run.
        launch: see :class:`Launch`.
        several: whether there are several scans.

    Raises:
        InputError: for one scan on several machines.
    """
    if several:
        workers = launch.processes if config.workers == 1 else config.workers
        part = f"{launch.machine + 1}/{launch.machines}" if launch.machines > 1 else None
        return replace(config, workers=workers, shard=config.shard or part)
    if launch.machines > 1:
        raise InputError(
            f"one scan cannot be divided between the {launch.machines} machines of this launch; give a folder of "
            "scans, or launch on one machine."
        )
    if config.devices > 1 or config.method != "focvs" or config.compile:
        return config
    return replace(config, devices=max(1, min(launch.processes, config.samples)))
