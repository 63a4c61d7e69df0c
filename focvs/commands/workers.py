"""Scans of a folder in several processes, each with its share of the cores: workers=N."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from focvs.commands.outcomes import FAILED, Outcome, restore_one
from focvs.hardware import usable_cores
from focvs.priors.precision import Precision, settle
from focvs.processes import devices_in_turn, end_processes, how_it_ended, share_of_cores, start_process
from focvs.reconstruction.setup import choose_device, in_precision, open_prior
from focvs.run_config import RunConfig
from focvs.scan.finding import Found

log = logging.getLogger(__name__)

Job = tuple[Found, RunConfig]


@dataclass
class Worker:
    """A process, the end of its pipe that is ours, and the job it is at."""

    process: BaseProcess
    pipe: Connection
    job: int | None = None


def restore_in_workers(jobs: Sequence[Job], output: Path, count: int) -> Iterator[tuple[int, Outcome]]:
    """Restore every scan, ``count`` at a time; number and outcome of each as they are done.

    Results are those of one process, to the bit where :mod:`focvs.parallel` says so: the precision is probed once,
    before the workers start. A worker that is killed takes its scan with it and nothing else, and another one takes its
    place; if this process ends, so do they.

    Args:
        jobs: scans and their configurations.
        output: folder of all results.
        count: of processes.
    """
    threads = share_of_cores(count)
    settled = _probe(jobs[0][1])
    if settled is not None and choose_device(jobs[0][1].device) == "cpu":  # by all cores
        settled = replace(settled, seconds_per_pixel=settled.seconds_per_pixel * usable_cores() / threads)
    devices = devices_in_turn(jobs[0][1].device, count)
    workers = [_start(number, threads, settled, devices[number], output) for number in range(count)]
    rest = iter(range(len(jobs)))
    try:
        for worker in workers:
            _give(worker, jobs, rest)
        while any(worker.job is not None for worker in workers):
            ready = wait([w.pipe for w in workers if w.job is not None] + [w.process.sentinel for w in workers])
            for number, worker in enumerate(workers):
                if worker.job is None or not {worker.pipe, worker.process.sentinel} & set(ready):
                    continue
                job, outcome = worker.job, _answer(worker, jobs[worker.job][0])
                if outcome is None:  # another one of them was ready
                    continue
                if not worker.process.is_alive():
                    workers[number] = worker = _start(number, threads, settled, devices[number], output)
                yield job, outcome
                _give(worker, jobs, rest)
    finally:
        _end(workers)


def _probe(config: RunConfig) -> Precision | None:
    """What this device computes in, found before workers compete for it; times are those of all cores."""
    if config.method != "focvs" or config.precision != "auto":
        return None
    device = choose_device(config.device)
    return in_precision(open_prior(config.prior, device), config, device)[1]


def _start(number: int, threads: int, settled: Precision | None, device: str, output: Path) -> Worker:
    return Worker(*start_process(_work, settled, device, output, number=number, threads=threads))


def _give(worker: Worker, jobs: Sequence[Job], rest: Iterator[int]) -> None:
    """The next job, or none."""
    worker.job = next(rest, None)
    if worker.job is not None:
        with suppress(OSError):  # a worker that was killed meanwhile is noticed by its sentinel
            worker.pipe.send(jobs[worker.job])


def _answer(worker: Worker, item: Found) -> Outcome | None:
    """What a worker says of its job, or what there is to say of one that was killed."""
    try:
        if worker.pipe.poll():
            return worker.pipe.recv()
    except (EOFError, OSError):
        pass
    worker.process.join(timeout=1.0)
    if worker.process.is_alive():
        return None
    reason = f"its process {how_it_ended(worker.process)}; memory may have run out: give fewer workers=."
    return Outcome(item.name, FAILED, reason=reason)


def _end(workers: Sequence[Worker]) -> None:
    """Let workers that wait go, and those that work leave cleanly."""
    for worker in workers:
        with suppress(OSError):
            worker.pipe.send(None)
        if worker.job is not None and worker.process.is_alive():
            worker.process.terminate()
    end_processes(worker.process for worker in workers)


def _work(pipe: Connection, settled: Precision | None, device: str, output: Path) -> None:
    """A worker: restores what it is given until it is given None."""
    if settled is not None:
        settle(settled)
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        if job is None:
            return
        item, config = job
        log.info("--- %s", item.name)
        pipe.send(restore_one(item, replace(config, device=device, progress=False), output))
