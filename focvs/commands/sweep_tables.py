"""Tables and pictures of a sweep, from the jobs in its folder."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import stats

from focvs.commands.overrides import run_overrides
from focvs.commands.sweep import NEUTRAL
from focvs.errors import InputError
from focvs.files import write_atomically, write_csv
from focvs.report.figures import draw_comparison, draw_curves
from focvs.report.tables import COLUMNS
from focvs.report.views import SIDES, Tile
from focvs.scan.nifti import axis_along

log = logging.getLogger(__name__)
KEYS = ("method", "thickness_mm", "gap_mm", "profile", "axis", "scan_noise", "trim_mm", "volume", "seed")
REPEATS = ("volume", "seed")  # what means are taken over
SCORES = (*COLUMNS, "seconds")
DRAWN = {"psnr_db": "PSNR (dB)", "ssim": "SSIM"}
CONFIDENCE = 0.95
MOST_PICTURES = 60
PICTURED = ("profile", "axis", "scan_noise", "trim_mm")  # named beside a picture where jobs differ in it


def collect(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """Gather the jobs in ``folder``: results.csv, summary.csv, curves.png, images.png; the failed ones are logged.

    Returns:
        The summary, a row for every combination but heads and seeds; and how many jobs failed.

    Raises:
        InputError: if no job succeeded.
    """
    jobs = newest_jobs(folder)
    failed = [job for job in jobs if "scores" not in job]
    for job in failed:
        log.warning("failed: %s: %s", job["folder"], job["reason"])
    rows = [{**as_row(job["settings"]), **job["scores"], "folder": job["folder"]} for job in jobs if "scores" in job]
    if not rows:
        raise InputError(f"no job in {folder} succeeded ({len(failed)} failed, their reasons are above).")
    extra = sorted({key for row in rows for key in row} - {*KEYS, *SCORES, "folder"})
    rows.sort(key=lambda row: tuple(str(row.get(key)) for key in (*KEYS, *extra)))
    write_csv(folder / "results.csv", rows, [*KEYS, *extra, *SCORES, "folder"])
    summary = summarise(rows, extra)
    write_csv(folder / "summary.csv", summary, list(summary[0]))
    write_atomically(folder / "curves.png", ".png", draw_curves(summary, DRAWN).savefig)
    pictures = _pictures(folder, jobs)
    if pictures[0]:
        write_atomically(folder / "images.png", ".png", draw_comparison(*pictures).savefig)
    return summary, len(failed)


def newest_jobs(folder: Path) -> list[dict[str, Any]]:
    """What the jobs in ``folder`` left, that of those with the same settings which was asked for last.

    Jobs are done again when a file they read or the version changed: the older ones are no repeats of the newer.
    """
    paths = sorted(folder.glob("*/job.json"), key=lambda path: path.stat().st_mtime_ns)
    jobs = [json.loads(path.read_text()) | {"folder": path.parent.name} for path in paths]
    newest = {tuple(sorted((key, str(value)) for key, value in as_row(job["settings"]).items())): job for job in jobs}
    if len(newest) < len(jobs):
        log.info("%d jobs of older files or another version were left out", len(jobs) - len(newest))
    return sorted(newest.values(), key=lambda job: job["folder"])


def as_row(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a job on one line, without those that change no score."""
    told = (word.partition("=") for word in run_overrides(settings["run"]))
    return {
        "method": settings["method"],
        "thickness_mm": settings["thickness"],
        "gap_mm": settings["gap"],
        "profile": profile_name(settings["profile"]),
        "axis": settings["axis"],
        "scan_noise": settings["scan_noise"],
        "trim_mm": settings["trim"],
        "volume": settings["volume"],
        "seed": settings["seed"],
        **{f"run.{key}" if key in KEYS else key: value.strip("'") for key, _, value in told if key not in NEUTRAL},
    }


def profile_name(profile: dict[str, Any]) -> str:
    """A slice profile in a word or two."""
    if profile["kind"] == "sampled":
        return str(profile["path"])
    return f"slr {profile['time_bandwidth']:g}" if profile["kind"] == "slr" else str(profile["kind"])


def summarise(rows: Sequence[dict[str, Any]], extra: Sequence[str]) -> list[dict[str, Any]]:
    """Mean of every score over heads and seeds, and half the width of its 95 % confidence interval (Student's t).

    The interval is over heads, each the mean of its seeds, where there are two or more; else over seeds.
    """
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    names = [key for key in (*KEYS, *extra) if key not in REPEATS]
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    summary = []
    for group, members in sorted(groups.items(), key=lambda item: [(v is None, str(type(v)), v) for v in item[0]]):
        line: dict[str, Any] = {**dict(zip(names, group, strict=True)), "repeats": len(members)}
        heads: dict[str, list[dict[str, Any]]] = {}
        for row in members:
            heads.setdefault(row["volume"], []).append(row)
        line["heads"] = len(heads)
        for score in SCORES:
            values = [row[score] for row in members if row[score] is not None]
            line[score] = float(np.mean(values)) if values else None
            if score in DRAWN:
                known = [[row[score] for row in seeds if row[score] is not None] for seeds in heads.values()]
                means = [float(np.mean(some)) for some in known if some]
                line[f"{score}_ci"] = confidence(means if len(means) > 1 else values)
        summary.append(line)
    return summary


def confidence(values: Sequence[float]) -> float | None:
    """Half the width of the 95 % confidence interval of a mean; None for fewer than two values."""
    if len(values) < 2:
        return None
    quantile = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1))
    return quantile * float(np.std(values, ddof=1)) / len(values) ** 0.5


def as_table(summary: Sequence[dict[str, Any]]) -> list[str]:
    """The summary for a terminal; settings that are the same in all rows are left out."""
    shown = [key for key in summary[0] if key not in SCORES or key in (*DRAWN, "residual", "seconds")]
    told = shown[: shown.index("repeats")]
    same = {key for key in told[3:] if len({str(row[key]) for row in summary}) == 1}
    shown = [key for key in shown if key not in same]
    cells = [[_cell(row.get(key)) for key in shown] for row in summary]
    widths = [max(map(len, column)) for column in zip(shown, *cells, strict=True)]
    return ["  ".join(f"{c:>{w}s}" for c, w in zip(line, widths, strict=True)) for line in (shown, *cells)]


def _cell(value: Any) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _pictures(folder: Path, jobs: Sequence[dict[str, Any]]) -> tuple[list[str], list[str], dict[tuple[str, str], Tile]]:
    """Rows (acquisitions), columns (truth and methods) and middle slices of the first head and seed of each."""
    rows: list[str] = []
    columns = ["truth"]
    tiles: dict[tuple[str, str], Tile] = {}
    done = [job for job in jobs if "scores" in job and (folder / job["folder"] / job["estimate"]).is_file()]
    first = [job for job in done if job["settings"]["volume"] == done[0]["settings"]["volume"]]
    for job in first[:MOST_PICTURES]:
        settings, place = job["settings"], folder / job["folder"]
        row = ", ".join([f"{settings['thickness']:g} mm, gap {settings['gap']:g} mm", *_varying(settings, first)])
        column = " ".join([settings["method"], *run_overrides(settings["run"])])
        rows += [row] if row not in rows else []
        columns += [column] if column not in columns else []
        if (row, column) not in tiles:
            truth, estimate = middle_slices(place / job["truth"], place / job["estimate"], settings["axis"])
            tiles[row, column] = estimate
            tiles.setdefault((row, "truth"), truth)
    return rows, columns, tiles


def _varying(settings: dict[str, Any], jobs: Sequence[dict[str, Any]]) -> list[str]:
    """What of a scan differs between jobs, besides thickness, gap and seed."""
    row, rows = as_row(settings), [as_row(job["settings"]) for job in jobs]
    return [f"{key} {row[key]}" for key in PICTURED if len({str(other[key]) for other in rows}) > 1]


def middle_slices(truth: Path, estimate: Path, direction: str) -> tuple[Tile, Tile]:
    """The same plane of both, through the middle of the head, with the slice axis upright."""
    both = [nib.as_closest_canonical(nib.load(path)) for path in (truth, estimate)]
    data, other = (np.asarray(image.dataobj, dtype=np.float32) for image in both)
    along = axis_along(both[0].affine, direction)
    across = 1 if along != 1 else 0
    inside = np.argwhere(data > 0.15 * np.percentile(data, 99.5))
    middle = int(np.median(inside[:, across])) if len(inside) else data.shape[across] // 2
    (beside,) = {0, 1, 2} - {along, across}
    sizes = nib.affines.voxel_sizes(both[0].affine)
    planes = [np.take(volume, middle, axis=across) for volume in (data, other)]
    upright = [image.T if along > beside else image for image in planes]
    first, second = (Tile(image, (float(sizes[along]), float(sizes[beside])), SIDES[beside]) for image in upright)
    return first, second
