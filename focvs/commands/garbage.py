"""Python's collection of garbage, where it only costs time: while modules are imported, and when a process ends.

The objects of torch and the rest are hundreds of thousands and stay until the end, yet every collection looks at all of
them: a fifth of the seconds of their import, and half a second when the interpreter ends.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect nothing within; where modules were imported, what is there afterwards is never looked at again."""
    enabled, known = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        if len(sys.modules) > known:
            gc.freeze()
        if enabled:
            gc.enable()


def leave(code: int) -> NoReturn:
    """End the process with an exit code, without a last look at every object.

    Raises:
        SystemExit: with ``code``.
    """
    gc.freeze()
    sys.exit(code)
