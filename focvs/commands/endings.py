"""How a command ends: its exit code, and one sentence where something is wrong."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from focvs.commands.overrides import UsageError
from focvs.errors import FocvsError, Terminated, is_out_of_memory

DONE, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


def exit_code(work: Callable[[], int], name: str = "focvs") -> int:
    """The exit code of ``work``, which gives one or raises; a sentence on the standard error where it raises."""
    try:
        with ended_cleanly():
            return work()
    except UsageError as error:
        code, said = USAGE, str(error)
    except FocvsError as error:
        code, said = FAILED, str(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        code, said = FAILED, "memory ran out; give smaller volumes, or use a machine with more memory."
    except Terminated:
        code, said = TERMINATED, "ended by SIGTERM; no file was left half written, the same command goes on."
    except KeyboardInterrupt:
        code, said = INTERRUPTED, "interrupted; no file was left half written."
    print(f"{name}: {said}", file=sys.stderr)
    return code


@contextmanager
def ended_cleanly() -> Iterator[None]:
    """Let SIGTERM raise :class:`Terminated`, in the main thread, so that temporary files and locks are removed."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def end(*_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
