"""focvs status OUTPUT_DIR: how far the runs are that write into a folder."""

from __future__ import annotations

import time
from datetime import datetime
from pathlib import Path
from typing import Any

from focvs.commands.cohort import NAME, read_table
from focvs.commands.outcomes import FAILED, RESTORED, SKIPPED, THERE
from focvs.errors import InputError
from focvs.locks import read_lock
from focvs.reconstruction.progress import in_words


def report_status(folder: Path) -> list[str]:
    """Lines about every run over a folder of scans that wrote into ``folder``, and about the scans that are worked on.

    Raises:
        InputError: for a folder that holds neither results nor a run.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the one that focvs writes its results into.")
    stems = {path.stem for path in folder.glob(f"{NAME}*.csv")}
    stems |= {path.stem.removeprefix(".") for path in folder.glob(f".{NAME}*.lock")}
    lines = [line for stem in sorted(stems) for line in _of_run(folder, stem)]
    for path in sorted(folder.rglob(".*.lock")):
        lock = None if path.name.startswith(f".{NAME}") else read_lock(path)
        if lock is not None:
            name = (path.parent.relative_to(folder) / path.stem.removeprefix(".")).as_posix()
            lines.append(f"at work: {name} (process {lock['pid']} on {lock['host']}, since {lock.get('since')})")
    if not lines:
        if not any(folder.rglob("*_focvs.json")):
            raise InputError(f"{folder} holds no results and no run; give the folder that focvs writes into.")
        lines.append("no run over a folder of scans wrote into it; focvs collect makes a table of what is there.")
    return lines


def _of_run(folder: Path, stem: str) -> list[str]:
    """Lines about one run, or one part of one."""
    table, lock = folder / f"{stem}.csv", read_lock(folder / f".{stem}.lock")
    rows = read_table(table) if table.is_file() else []
    counts = {status: sum(row["status"] == status for row in rows) for status in (RESTORED, THERE, SKIPPED, FAILED)}
    said = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "nothing done yet"
    total = 0 if lock is None else lock.get("total", 0)
    of = f" of {total}" if total else ""
    state = "ended" if lock is None else f"running, process {lock['pid']} on {lock['host']}, since {lock.get('since')}"
    lines = [f"{stem}: {len(rows)}{of} done ({said}); {state}"]
    worked = counts[RESTORED] + counts[FAILED]  # others take no time
    if lock is not None and worked and len(rows) < total:
        each = (time.time() - _since(lock)) / worked
        lines.append(f"  about {in_words(each * (total - len(rows)))} left at the pace so far")
    lines += [f"  failed: {row['scan']}: {row['reason']}" for row in rows if row["status"] == FAILED]
    return lines


def _since(lock: dict[str, Any]) -> float:
    """When a lock was taken, seconds; now where it does not say."""
    try:
        return datetime.fromisoformat(str(lock.get("since"))).timestamp()
    except ValueError:
        return time.time()
