"""Under torchrun or ``accelerate launch``: the first process does the work, with as many processes of its own.

Launchers end all of their processes as soon as one fails, which a folder with one bad scan would; our own workers and
devices do not. So the other launched processes have nothing to do.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, MutableMapping
from dataclasses import dataclass, replace

from focvs.errors import InputError
from focvs.run_config import RunConfig

log = logging.getLogger("focvs")

# what torch.distributed.run, by which both start several processes, tells each; nothing else sets the first
VARIABLES = ("TORCHELASTIC_RUN_ID", "RANK", "WORLD_SIZE", "GROUP_WORLD_SIZE")
THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Launch:
    """Which of the processes that a launcher started this is.

    Attributes:
        rank: from 0.
        processes: how many were started.
        machines: on how many machines.
    """

    rank: int
    processes: int
    machines: int = 1


def read_launch(environment: Mapping[str, str] | None = None) -> Launch | None:
    """What the launcher says; None where there is none."""
    variables = os.environ if environment is None else environment
    words = [variables.get(name, "") for name in VARIABLES]
    if not words[0] or not all(word.isdigit() for word in words[1:]):
        return None
    return Launch(*map(int, words[1:]))


def take_over(launch: Launch | None, environment: MutableMapping[str, str] | None = None) -> bool:
    """Whether this process is to work: without a launch, or as the first of one, which takes the threads of all.

    Threads are those of ``OMP_NUM_THREADS``: torchrun gives each process one where nothing else is said.

    Raises:
        InputError: for a launch on several machines.
    """
    if launch is None:
        return True
    if launch.machines > 1:
        raise InputError(
            f"a launch on {launch.machines} machines is not divided; start focvs on each of them with shard=1/"
            f"{launch.machines} ... {launch.machines}/{launch.machines}."
        )
    if launch.rank:
        log.info("process %d of %d: the first one does the work of all", launch.rank + 1, launch.processes)
        return False
    variables = os.environ if environment is None else environment
    if variables.get(THREADS, "").isdigit():
        variables[THREADS] = str(int(variables[THREADS]) * launch.processes)
    return True


def divided(config: RunConfig, launch: Launch, several: bool, given: Collection[str]) -> RunConfig:
    """The same with as many processes as were launched: ``workers`` for a folder, ``devices`` for samples of one scan.

    Args:
        config: of the run.
        launch: see :class:`Launch`.
        several: whether there are several scans.
        given: keys that the user gave, which stand.
    """
    if several:
        return config if "workers" in given else replace(config, workers=launch.processes)
    if "devices" in given or config.method != "focvs" or config.compile:
        return config
    return replace(config, devices=max(1, min(launch.processes, config.samples)))
