"""Seconds by name: where the time of a run goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from focvs.sampling.consistency import ReplacementRule


class Stopwatch:
    """Adds up seconds by name; what runs on a GPU is timed there, and nothing waits for it before it is asked for."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._events: list[tuple[str, Any, Any]] = []

    @property
    def seconds(self) -> dict[str, float]:
        """By name; waits for a GPU to end what was timed on it."""
        for name, start, end in self._events:
            end.synchronize()
            self.add(name, start.elapsed_time(end) / 1000)
        self._events.clear()
        return self._seconds

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Time a block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - began)

    def timed(self, name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """``function`` of a tensor with its seconds added under ``name``."""

        def wrapper(x: Tensor, *args: Any) -> Tensor:
            if x.device.type != "cuda":
                with self.lap(name):
                    out = function(x, *args)
                    if out.device.type == "mps":
                        torch.mps.synchronize()
                    return out
            with torch.cuda.device(x.device):
                start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                start.record()
                out = function(x, *args)
                end.record()
            self._events.append((name, start, end))
            return out

        return wrapper

    def add(self, name: str, seconds: float) -> None:
        """``seconds`` more under ``name``."""
        self._seconds[name] = self._seconds.get(name, 0.0) + seconds


class TimedConsistency:
    """A consistency rule whose work is timed."""

    def __init__(self, rule: ReplacementRule, clock: Stopwatch):
        self.replace = clock.timed("replacement", rule.replace)
        self.draw = clock.timed("replacement", rule.draw)
        self.renoise = rule.renoise and clock.timed("replacement", rule.renoise)
        self.prepare = rule.prepare
