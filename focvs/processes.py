"""Processes beside this one: each with its share of the cores or a GPU, and none that outlives the first."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch

from focvs.hardware import usable_cores

LEAVE_SECONDS = 20.0  # that a process has to leave cleanly


def share_of_cores(count: int) -> int:
    """Cores for each of ``count`` processes."""
    return max(1, usable_cores() // count)


def devices_in_turn(asked: str, count: int) -> list[str]:
    """The device of each of ``count`` processes: GPUs in turn where any of them would do."""
    gpus = torch.cuda.device_count() if asked in ("auto", "cuda") else 0
    return [f"cuda:{number % gpus}" if gpus else asked for number in range(count)]


def start_process(
    work: Callable[..., None], *arguments: Any, number: int, threads: int
) -> tuple[BaseProcess, Connection]:
    """Start ``work(pipe, *arguments)`` in a process of its own; the process and our end of its pipe.

    Args:
        work: a function of a module.
        arguments: that can be pickled.
        number: of the process, from 0, for its name.
        threads: that it computes with.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    ours, theirs = context.Pipe()
    level = logging.getLogger("focvs").level
    process = context.Process(
        target=_run, args=(work, theirs, arguments, number, threads, level), name=f"focvs-{number}", daemon=False
    )
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read by libraries as they are loaded
    try:
        process.start()
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
    theirs.close()
    return process, ours


def end_processes(processes: Iterable[BaseProcess]) -> None:
    """Wait for processes that were told to leave; one that does not is killed."""
    for process in processes:
        process.join(timeout=LEAVE_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()


def how_it_ended(process: BaseProcess) -> str:
    """``was killed by signal 9`` or ``ended with 1``."""
    code = process.exitcode or 0
    return f"was killed by signal {-code}" if code < 0 else f"ended with {code}"


def _run(
    work: Callable[..., None], pipe: Connection, arguments: tuple[Any, ...], number: int, threads: int, level: int
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process hears of it and ends this one
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # by the exception: temporary files are removed
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.INFO, format=f"[{number + 1}] %(message)s", stream=sys.stderr, force=True)
    logging.getLogger("focvs").setLevel(level)
    torch.set_num_threads(threads)
    with suppress(BrokenPipeError):  # nobody waits for it any more
        work(pipe, *arguments)


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
