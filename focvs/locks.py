"""One run at a time where two would write the same files: a lock that says whose it is and is known to be stale."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from focvs.errors import InputError

BEAT_SECONDS = 20.0  # how often a lock is touched
STALE_SECONDS = 300.0  # without a touch, after which one of another machine counts as left behind


@contextmanager
def locked(path: Path, what: str, **facts: Any) -> Iterator[None]:
    """Hold the lock file ``path``, in a folder that is there, and remove it at the end.

    A lock of this machine is stale once its process has ended; one of another machine, once it was not touched for
    :data:`STALE_SECONDS`. A stale one is taken over.

    Args:
        path: of the lock.
        what: that is being done, for the sentence that another run is refused with.
        facts: that the lock says besides.

    Raises:
        InputError: if another run holds it, or it cannot be written.
    """
    own = {"pid": os.getpid(), "host": socket.gethostname(), "started": _started(os.getpid())}
    own |= {"since": datetime.now().astimezone().isoformat(timespec="seconds"), "what": what, **facts}
    _take(path, json.dumps(own), what)
    ended = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, ended), daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        with suppress(OSError):
            path.unlink()


def read_lock(path: Path) -> dict[str, Any] | None:
    """What a lock says, or None where there is none, or a stale one."""
    try:
        age = time.time() - path.stat().st_mtime
        found = json.loads(path.read_text(encoding="utf-8"))
        pid, host = int(found["pid"]), str(found["host"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        # of a run that was killed while it wrote it, or is about to write it
        return None if _age(path) > BEAT_SECONDS else {"pid": 0, "host": "?", "since": "now", "what": "a run"}
    if host == socket.gethostname():
        return found if _started(pid) is not None and _started(pid) == found.get("started") else None
    return found if age < STALE_SECONDS else None


def _take(path: Path, content: str, what: str) -> None:
    for _ in range(2):
        try:
            descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
        except FileExistsError:
            if (other := read_lock(path)) is not None:
                raise InputError(
                    f"{what} is being done by another focvs (process {other['pid']} on {other['host']}, since "
                    f"{other.get('since')}); wait for it, or remove {path} if that one has ended."
                ) from None
            with suppress(OSError):
                path.unlink()
        except OSError as error:
            raise InputError(f"{path} cannot be written ({error.strerror}); choose another output folder.") from error
        else:
            try:
                with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                    stream.write(content)
            except OSError as error:
                with suppress(OSError):
                    path.unlink()
                raise InputError(
                    f"{path} cannot be written ({error.strerror}); choose another output folder."
                ) from error
            return
    raise InputError(f"{path} was taken by another focvs just now; start this one again.")


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        with suppress(OSError):
            os.utime(path)


def _age(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")


def _started(pid: int) -> str | None:
    """When a process of this machine began, in ticks since it was booted: numbers of processes are used again.

    None for one that there is not; "" where the system does not say (no /proc).
    """
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except (OSError, OverflowError):
        pass  # of another user
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return None if status[0] == "Z" else status[19]
