"""focvs collect OUTPUT_DIR: one page and one table of all scans that were restored into a folder."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from focvs.commands.cohort import NAME, read_table
from focvs.commands.outcomes import FAILED, SKIPPED
from focvs.errors import InputError
from focvs.files import require_writable, write_atomically
from focvs.report.html_report import SOURCES
from focvs.report.mosaics import data_uri
from focvs.report.pages import render

log = logging.getLogger(__name__)
PAGE, TABLE = "focvs_cohort.html", "focvs_cohort.tsv"
THUMBNAIL, QUALITY = 320, 80  # pixels of width, quality of JPEG
MOST_PICTURES = 1000  # a page with more would not open
# what a column holds: its key, its title, and where it is in the JSON
COLUMNS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("scan", "scan", ()),
    ("slices", "slices", ("acquisition", "slices")),
    ("thickness_mm", "thickness, mm", ("acquisition", "thickness_mm")),
    ("gap_mm", "gap, mm", ("acquisition", "gap_mm")),
    ("source", "thickness from", ("acquisition", "source")),
    ("noise", "noise", ("noise_intensity",)),
    ("residual", "relative residual", ("consistency", "relative_residual")),
    ("below_floor", "share below zero", ("consistency", "below_floor")),
    ("uneven", "largest gain of a slice", ()),
    ("seconds", "seconds", ("seconds", "total")),
    ("memory_mib", "memory, MiB", ("peak_memory_mib",)),
)
WORDS = ("scan", "source")


def collect(folder: Path) -> tuple[Path, Path]:
    """Write ``focvs_cohort.html`` and ``focvs_cohort.tsv`` into a folder of results.

    Returns:
        Their paths.

    Raises:
        InputError: for a folder without results, or one that cannot be written.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give the one that focvs wrote its results into.")
    rows = [row for path in sorted(folder.rglob("*_focvs.json")) if (row := _row(path, folder)) is not None]
    if not rows:
        raise InputError(f"{folder} holds no results (NAME_focvs.json); give the folder that focvs wrote into.")
    require_writable(folder)
    for number, row in enumerate(rows):
        row["picture"] = _thumbnail(row.pop("png")) if number < MOST_PICTURES else ""
    failed = [row for path in sorted(folder.glob(f"{NAME}*.csv")) for row in read_table(path)]
    failed = [row for row in failed if row["status"] in (FAILED, SKIPPED)]
    page, table = folder / PAGE, folder / TABLE
    text, lines = (content.encode("utf-8", "replace") for content in (_page(rows, failed), _table(rows)))
    write_atomically(page, ".html", lambda temporary: temporary.write_bytes(text))
    write_atomically(table, ".tsv", lambda temporary: temporary.write_bytes(lines))
    warned = sum(bool(row["warnings"]) for row in rows)
    log.info("restored scans: %d, with warnings: %d; see %s and %s", len(rows), warned, page, table)
    return page, table


def _row(path: Path, folder: Path) -> dict[str, Any] | None:
    """What the JSON of a result says, or None where it is not one of ours."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        row = {key: _at(report, place) for key, _, place in COLUMNS if place}
        row["source"] = SOURCES.get(row["source"], row["source"])
        gains = report["acquisition"]["slice_gains"]
        warnings = list(report["warnings"])
        if report["config"]["report"] and not path.with_suffix(".html").is_file():
            warnings.insert(0, "the page is missing: the run was ended before it was done; start it again.")
    except (OSError, ValueError, KeyError, TypeError):
        log.warning("%s is no report of focvs and was passed over", path)
        return None
    stem = path.name.removesuffix(".json")
    page, png = (path.with_name(f"{stem}.{ending}") for ending in ("html", "png"))
    here = path.parent.relative_to(folder)
    return {
        **row,
        "scan": (here / stem.removesuffix("_focvs")).as_posix(),
        "uneven": None if gains is None else max(max(g, 1 / g) for g in gains),
        "warnings": warnings,
        "page": quote(os.fsencode((here / page.name).as_posix())) if page.is_file() else "",
        "png": png if png.is_file() else None,
    }


def _at(report: Mapping[str, Any], place: tuple[str, ...]) -> Any:
    value: Any = report
    for key in place:
        value = value[key]
    return value


def _thumbnail(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        image = Image.open(path).convert("RGB")
    except OSError:
        return ""
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=QUALITY)
    return data_uri(stream.getvalue(), "image/jpeg")


def _page(rows: list[dict[str, Any]], failed: list[dict[str, str]]) -> str:
    columns = [{"key": key, "title": title, "number": key not in WORDS} for key, title, _ in COLUMNS]
    return render("cohort.html.j2", rows=rows, failed=failed, columns=columns, shown=_shown)


def _table(rows: list[dict[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter="\t", lineterminator="\n")
    writer.writerow([*(key for key, _, _ in COLUMNS), "warnings"])
    for row in rows:
        values = ["n/a" if row[key] is None else row[key] for key, _, _ in COLUMNS]
        writer.writerow([*values, " ".join(row["warnings"])])
    return stream.getvalue()


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
