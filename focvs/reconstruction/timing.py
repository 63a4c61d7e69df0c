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
    """Adds up seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Time a block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began

    def timed(self, name: str, function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """``function`` with its seconds added under ``name``."""

        def wrapper(*args: Any) -> Tensor:
            with self.lap(name):
                out = function(*args)
                if out.device.type == "cuda":
                    torch.cuda.synchronize(out.device)
                elif out.device.type == "mps":
                    torch.mps.synchronize()
                return out

        return wrapper


class TimedConsistency:
    """A consistency rule whose work is timed."""

    def __init__(self, rule: ReplacementRule, clock: Stopwatch):
        self.replace = clock.timed("replacement", rule.replace)
        self.draw = clock.timed("replacement", rule.draw)
        self.renoise = rule.renoise and clock.timed("replacement", rule.renoise)
