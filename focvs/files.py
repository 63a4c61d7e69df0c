"""Files that appear whole or not at all, and folders that can be written."""

from __future__ import annotations

import csv
import glob
import io
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from focvs.errors import InputError


def write_json(path: Path, content: dict) -> None:
    """Write JSON under a temporary name and rename; what is not a finite number becomes null, as JSON knows no NaN."""
    text = json.dumps(_finite(content), indent=2, allow_nan=False) + "\n"
    write_atomically(path, ".json", lambda temporary: temporary.write_text(text, encoding="utf-8"))


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write the ``columns`` of rows as CSV, what is missing empty, under a temporary name and rename."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows(rows)
    content = text.getvalue().encode("utf-8", "surrogateescape")  # names of files as they are
    write_atomically(path, ".csv", lambda temporary: temporary.write_bytes(content))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_atomically(path: Path, suffix: str, write) -> None:  # type: ignore[no-untyped-def]
    """Call ``write(temporary)`` in the folder of ``path``, then rename to ``path``.

    Raises:
        InputError: if the operating system refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); choose another folder.") from error
    finally:
        if temporary.is_file():
            temporary.unlink()


def remove_empty(folder: Path) -> None:
    """Remove a folder that holds nothing."""
    with suppress(OSError):
        folder.rmdir()


def remove_parts(folder: Path, stem: str) -> None:
    """Remove what killed runs left of files that begin with ``stem``; call it only while nobody else writes them."""
    for path in folder.glob(f".{glob.escape(stem)}*.part*"):
        with suppress(OSError):
            path.unlink()


def printable(name: str) -> str:
    """A file name as text: bytes that are no UTF-8, which the system hands over as surrogates, replaced."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def require_there(path: Path) -> None:
    """Raise InputError for an image that does not exist."""
    if not path.exists():
        raise InputError(f"{path} does not exist; give a .nii or .nii.gz file.")


def require_reachable(folder: Path) -> None:
    """Raise InputError if a folder can be seen to be no place for results, without making it."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        reason = "not a folder" if not there.is_dir() else "no permission"
        raise InputError(f"{folder} cannot be written ({there}: {reason}); choose another output folder.")


def require_writable(folder: Path) -> None:
    """Raise InputError now, rather than after minutes of work, if results could not be written."""
    probe = folder / f".focvs-probe-{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); choose another output folder.") from error
