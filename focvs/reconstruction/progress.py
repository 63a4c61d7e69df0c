"""How far a run is: a bar with the time left in a terminal, a line of the log at every tenth elsewhere."""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType

from tqdm.auto import tqdm

log = logging.getLogger(__name__)
LISTENER: ContextVar[Callable[[float], None] | None] = ContextVar("listener", default=None)
FORMAT = "{desc}: {percentage:3.0f}% |{bar}| {elapsed} gone, {remaining} left"
SHORT_SECONDS = 20.0  # a run that is not expected to last longer than this says nothing in the log


class Progress:
    """Counts evaluations of the network, in fractions and from any thread.

    Args:
        total: evaluations of the whole run.
        name: of the scan.
        shown: False says nothing at all.
        terminal: whether a bar can be drawn; None asks the standard error stream.
    """

    def __init__(self, total: float, name: str, shown: bool = True, terminal: bool | None = None):
        self.total, self.name, self.done, self.began = total, name, 0.0, time.monotonic()
        self.lock, self.listener = threading.Lock(), LISTENER.get()
        terminal = sys.stderr.isatty() if terminal is None else terminal
        self.lines = shown and not terminal
        self.bar = tqdm(total=total, desc=name, disable=not (shown and terminal), leave=False, bar_format=FORMAT)

    def advance(self, count: float = 1.0) -> None:
        """``count`` more evaluations are done; fewer than none where some have to be done again."""
        with self.lock:
            tenth = self._tenth()
            more = min(count, self.total - self.done)  # a gradient evaluates twice what counts once
            self.done += more
            self.bar.update(more)
            if self.listener:
                self.listener(self.done / self.total)
            spent = time.monotonic() - self.began
            left = spent * (self.total - self.done) / self.done if self.done else 0.0
            if self.lines and tenth < self._tenth() < 10 and spent + left > SHORT_SECONDS:
                log.info("%s: %d %%, about %s left", self.name, 10 * self._tenth(), in_words(left))

    def _tenth(self) -> int:
        return int(10 * self.done / self.total + 1e-6)

    def __enter__(self) -> Progress:
        self.began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()


@contextmanager
def listening(listener: Callable[[float], None] | None) -> Iterator[None]:
    """Tell a function the share that is done, from 0 to 1, of runs that begin within."""
    before = LISTENER.set(listener)
    try:
        yield
    finally:
        LISTENER.reset(before)


def in_words(seconds: float) -> str:
    """A time as one reads it: ``40 s`` or ``3.5 minutes``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.2g} minutes"
