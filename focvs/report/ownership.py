"""Whose results lie in a folder: those of another scan are not overwritten."""

from __future__ import annotations

import json
from pathlib import Path

from focvs.errors import InputError
from focvs.scan.scan import Scan


def require_own(scan: Scan, method: str, folder: Path, overwrite: bool) -> None:
    """Refuse to overwrite the results of another scan.

    Args:
        scan: that is to be restored.
        method: by what.
        folder: of the results.
        overwrite: whether it is allowed.

    Raises:
        InputError: naming the other scan.
    """
    path = folder / f"{scan.result(method)}.json"
    if overwrite or not path.is_file():
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        other, place = found.get("scan_sha256"), found["config"]["scan"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return  # no report of ours
    if other is not None and other != scan.sha256:
        raise InputError(
            f"{folder} holds the results of another scan of that name ({place}); choose another output folder, or give "
            "overwrite=true."
        )
