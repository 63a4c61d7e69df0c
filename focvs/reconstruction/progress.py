"""How far a run is: a bar with the time left in a terminal, a line of the log at every tenth elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from tqdm.auto import tqdm

log = logging.getLogger(__name__)
SHORT_SECONDS = 20.0  # a run that is not expected to last longer than this says nothing in the log


class Progress:
    """Counts evaluations of the network.

    Args:
        total: evaluations of the whole run.
        name: of the scan.
        shown: False says nothing at all.
        terminal: whether a bar can be drawn; None asks the standard error stream.
    """

    def __init__(self, total: int, name: str, shown: bool = True, terminal: bool | None = None):
        self.total, self.name, self.done, self.began = total, name, 0, time.monotonic()
        terminal = sys.stderr.isatty() if terminal is None else terminal
        self.lines = shown and not terminal
        self.bar = tqdm(total=total, desc=name, disable=not (shown and terminal), leave=False)

    def advance(self, count: int = 1) -> None:
        """``count`` more evaluations are done."""
        tenths = 10 * self.done // self.total
        self.done += count
        self.bar.update(count)
        spent = time.monotonic() - self.began
        left = spent * (self.total - self.done) / self.done
        another = 10 * self.done // self.total > tenths and self.done < self.total
        if self.lines and another and spent + left > SHORT_SECONDS:
            log.info("%s: %d %%, about %s left", self.name, 100 * self.done // self.total, in_words(left))

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()


def in_words(seconds: float) -> str:
    """A time as one reads it: ``40 s`` or ``3.5 minutes``."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.2g} minutes"
