"""Samples of one scan in several processes, each on a GPU of its own or with its share of the cores: devices=N."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Protocol

import torch
from torch import Tensor

from focvs.errors import InputError, is_out_of_memory
from focvs.parallel import one_thread_each
from focvs.processes import (
    LEAVE_SECONDS,
    devices_in_turn,
    end_processes,
    how_it_ended,
    share_of_cores,
    start_process,
)
from focvs.reconstruction.batches import Drawer, draw_batches
from focvs.reconstruction.case import Case
from focvs.reconstruction.progress import Progress
from focvs.reconstruction.timing import Stopwatch
from focvs.run_config import RunConfig


class MakeDrawer(Protocol):
    """Makes what draws samples, in the process that draws them; it can be pickled."""

    def __call__(self, case: Case, config: RunConfig, clock: Stopwatch, progress: Progress) -> Drawer: ...


@dataclass
class Share:
    """A process, the end of its pipe that is ours, and the numbers of its samples."""

    process: BaseProcess
    pipe: Connection
    numbers: range
    done: bool = False


class Relay(Progress):
    """Tells the process that waits how far this one is."""

    def __init__(self, pipe: Connection):
        super().__init__(1.0, "", shown=False)
        self.pipe, self.sending = pipe, threading.Lock()

    def advance(self, count: float = 1.0) -> None:
        with self.sending:
            self.done += count
            self.pipe.send(float(count))


def draw_shares(case: Case, config: RunConfig, make: MakeDrawer, clock: Stopwatch, progress: Progress) -> Tensor:
    """All samples ``(M, p, q, n)`` on the CPU, float32, by this process or by ``config.devices`` others.

    A sample is the same whichever process draws it, as its noise comes from a generator of its own.

    Args:
        case: the scan and the prior.
        config: samples, batch, devices and seed.
        make: makes what draws them.
        clock: gets what ``make`` times; of several processes their mean.
        progress: counts evaluations.

    Raises:
        InputError: if one of the processes is killed.
        RuntimeError or MemoryError: as torch says that memory ran out, if a single sample does not fit.
    """
    count = min(config.devices, config.samples)
    if count < 2:
        return _drawn(case, config, make, clock, progress, range(config.samples))
    devices = devices_in_turn(case.device, count)
    # by value, once for all: tensors that processes share need a file descriptor each
    with _at_rest(case) as resting:
        content = pickle.dumps((resting, config, make))
    bounds = [round(number * config.samples / count) for number in range(count + 1)]
    threads = share_of_cores(count)
    shares: list[Share] = []
    volumes = torch.empty((config.samples, *case.start.shape[:2], case.acquisition.grid.voxels))
    try:
        for number, device in enumerate(devices):
            numbers = range(bounds[number], bounds[number + 1])
            shares.append(Share(*start_process(_work, number=number, threads=threads), numbers))
            with suppress(OSError):  # of one that has ended is heard below
                shares[-1].pipe.send_bytes(content)
                shares[-1].pipe.send((device, numbers))
        while not all(share.done for share in shares):
            waiting = [share for share in shares if not share.done]
            ready = wait([share.pipe for share in waiting] + [share.process.sentinel for share in waiting])
            for share in waiting:
                if share.pipe in ready or share.process.sentinel in ready:
                    _hear(share, volumes, clock, count, progress)
    finally:
        for share in shares:
            if not share.done:
                share.process.terminate()
        end_processes(share.process for share in shares)
    return volumes


def _hear(share: Share, volumes: Tensor, clock: Stopwatch, count: int, progress: Progress) -> None:
    """Take what a process has to say: how far it is, its samples, or an error."""
    try:
        said = share.pipe.recv()
    except (EOFError, OSError):  # it ended, perhaps in the middle of a word
        share.process.join(timeout=LEAVE_SECONDS)
        code = share.process.exitcode or 0
        advice = "; memory may have run out: give fewer devices= or samples=" if code < 0 else ""
        raise InputError(f"a process that drew samples {how_it_ended(share.process)}{advice}.") from None
    if isinstance(said, float):
        progress.advance(said)
    elif isinstance(said, Exception):
        share.done = True
        raise said
    else:
        found, seconds = said
        volumes[share.numbers.start : share.numbers.stop] = torch.from_numpy(found)
        for name, each in seconds.items():
            clock.add(name, each / count)
        share.done = True


def _work(pipe: Connection) -> None:
    """Draw the samples that this process is asked for."""
    clock = Stopwatch()
    try:
        case, config, make = pickle.loads(pipe.recv_bytes())  # of the process that started this one
        device, numbers = pipe.recv()
        case = replace(case, device=device, prior=case.prior.on(device))
        found = _drawn(case, config, make, clock, Relay(pipe), numbers)
    except Exception as error:  # whatever it is, it is the one that a single process would have raised
        pipe.send(MemoryError(str(error)) if is_out_of_memory(error) else error)
        return
    pipe.send((found.numpy(), dict(clock.seconds)))


def _drawn(
    case: Case, config: RunConfig, make: MakeDrawer, clock: Stopwatch, progress: Progress, numbers: range
) -> Tensor:
    alone = one_thread_each() if torch.device(case.device).type == "cpu" else nullcontext()
    with alone, torch.no_grad() if config.sampler.name == "dps" else torch.inference_mode():
        return draw_batches(case, config, make(case, config, clock, progress), progress, numbers)


@contextmanager
def _at_rest(case: Case) -> Iterator[Case]:
    """The case with its networks on the CPU, to be sent."""
    try:
        yield replace(case, device="cpu", prior=case.prior.on("cpu"))
    finally:
        case.prior.on(case.device)  # modules are moved in place
