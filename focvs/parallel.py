"""The same result on any number of cores: work is split into parts that one core does, whatever their number.

Sums of matrix products and convolutions are added in an order that depends on the number of threads, and results then
differ in their last bit. So a run on a CPU computes with one thread, and only the evaluations of networks, where nearly
all of its time goes, are parts that cores take in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

import torch
from torch import Tensor

Item = TypeVar("Item")
_CORES: ContextVar[int | None] = ContextVar("cores", default=None)  # for parts, while all else has one thread


def cores() -> int:
    """How many cores parts are given to."""
    return _CORES.get() or torch.get_num_threads()


@contextmanager
def one_thread_each() -> Iterator[None]:
    """One thread for all that is computed within, and as many as before for parts."""
    before, threads = _CORES.set(cores()), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        _CORES.reset(before)


@contextmanager
def all_cores() -> Iterator[None]:
    """All threads again, within :func:`one_thread_each`, for what is not worth splitting into parts: trainings."""
    threads = torch.get_num_threads()
    torch.set_num_threads(cores())
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def in_parallel(function: Callable[[Item], Tensor], items: Sequence[Item], device: torch.device) -> list[Tensor]:
    """``function`` of every item; on a CPU a core each, which beats all cores on one (scripts/benchmark_threads.py).

    Gradients and inference mode are as in the caller.
    """
    workers = min(cores(), len(items)) if device.type == "cpu" else 1
    if workers < 2:
        return [function(item) for item in items]
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()
    threads = torch.get_num_threads()

    def work(item: Item) -> Tensor:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):  # both are of a thread
            return function(item)

    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, items))
    finally:
        torch.set_num_threads(threads)  # a worker's number is that of threads to come as well
