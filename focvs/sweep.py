"""focvs sweep: simulate, restore and score every combination; one tidy table, its means, and pictures."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import stats

from focvs.cli import compose, quote, run_overrides, to_schema
from focvs.config import EvaluateConfig, SimulateConfig, SweepConfig
from focvs.errors import FocvsError, InputError
from focvs.evaluate import COLUMNS, measure_estimates
from focvs.pipeline import super_resolve
from focvs.report.figures import draw_comparison, draw_curves
from focvs.simulate import AXES, simulate_scan
from focvs.volume import nifti_stem, read_nifti, write_atomically, write_json, write_nifti

log = logging.getLogger(__name__)

KEYS = ("method", "thickness_mm", "gap_mm", "profile", "axis", "scan_noise", "trim_mm", "volume", "seed")
REPEATS = ("volume", "seed")  # what means are taken over
SCORES = (*COLUMNS, "seconds", "peak_memory_mib")
DRAWN = {"psnr_db": "PSNR (dB)", "ssim": "SSIM"}
CONFIDENCE = 0.95


def run_job(config: SweepConfig) -> None:
    """One combination: ``job.json`` in a folder of its own, with its scores or the reason why there are none.

    The folder is named after all settings, so that a job that is done is never done again.
    """
    settings = {key: value for key, value in asdict(config).items() if key != "output_dir"}
    folder = job_folder(settings, Path(config.output_dir))
    path = folder / "job.json"
    if path.is_file() and "scores" in json.loads(path.read_text()):
        log.info("%s: done already", folder.name)
        return
    try:
        scores, files = _restore_and_score(config, folder)
    except FocvsError as error:
        log.error("focvs: %s: %s", folder.name, error)
        write_json(path, {"settings": settings, "reason": str(error)})
        return
    write_json(path, {"settings": settings, "scores": scores, **files})


def job_folder(settings: dict[str, Any], parent: Path) -> Path:
    """Where a job goes: the main settings in words, all of them in a short hash."""
    stem, digest = nifti_stem(Path(settings["volume"])), hashlib.sha256(json.dumps(settings).encode()).hexdigest()
    words = f"{settings['thickness']:g}mm_gap{settings['gap']:g}_seed{settings['seed']}"
    return parent / f"{stem}_{settings['method']}_{words}_{digest[:8]}"


def _restore_and_score(config: SweepConfig, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
    spacing_mm = config.thickness + config.gap
    truth = crop_truth(config, spacing_mm, folder)
    profile = config.profile
    simulation = SimulateConfig(
        str(truth),
        str(folder / "scan.nii.gz"),
        profile=profile,
        thickness=config.thickness,
        spacing=spacing_mm,
        axis=config.axis,
        noise=config.scan_noise,
        seed=config.seed,
    )
    scan = simulate_scan(simulation)
    affine = read_nifti(truth)[1]
    voxel_mm = float(np.linalg.norm(affine[:3, slice_axis(affine, config.axis)]))
    words = [f"scan={quote(str(scan))}", f"output_dir={quote(str(folder))}", f"method={config.method}"]
    words += [f"voxel={voxel_mm}", "progress=false", *run_overrides(config.run)]
    run = to_schema(compose("config", words))
    if not any(key.partition(".")[0] == "profile" for key in config.run):
        run.profile = profile
    paths = super_resolve(run)
    report = json.loads(paths["json"].read_text())
    (row,), _ = measure_estimates(
        EvaluateConfig(str(truth), [str(paths["mean"])], scan=str(scan), profile=profile, trim=config.trim)
    )
    scores = {name: row[name] for name in COLUMNS}
    scores |= {"seconds": report["seconds"]["total"], "peak_memory_mib": report["peak_memory_mib"]}
    return scores, {"truth": str(truth), "estimate": str(paths["mean"])}


def slice_axis(affine: np.ndarray, name: str) -> int:
    """The array axis of an anatomical direction.

    Raises:
        InputError: for an unknown name.
    """
    if name not in AXES:
        raise InputError(f"axis={name} is not known; choose one of {', '.join(AXES)}.")
    return next(i for i, code in enumerate(nib.aff2axcodes(affine)) if code in AXES[name])


def crop_truth(config: SweepConfig, spacing_mm: float, folder: Path) -> Path:
    """Write the volume without the end slices that keep its voxels from being those of a restored scan.

    Raises:
        InputError: for an unreadable volume, an unknown axis, or fewer than two slices' worth of voxels.
    """
    data, affine, header, _ = read_nifti(Path(config.volume))
    axis = slice_axis(affine, config.axis)
    cropped = crop_for_grid(data, affine, axis, spacing_mm)
    path = folder / "truth.nii.gz"
    write_nifti(path, *cropped, header)
    return path


def crop_for_grid(data: np.ndarray, affine: np.ndarray, axis: int, spacing_mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Drop end slices until a whole number of thick slices and the centred voxel grid are one and the same.

    Args:
        data: ``(i, j, k)`` thin-slice volume.
        affine: ``(4, 4)``, mm.
        axis: slice axis.
        spacing_mm: of the thick slices.

    Returns:
        The rest and its affine.

    Raises:
        InputError: if nothing is left.
    """
    voxel_mm = float(np.linalg.norm(affine[:3, axis]))
    n = data.shape[axis]
    if not 0 < spacing_mm < n * voxel_mm:
        raise InputError(f"slices every {spacing_mm:g} mm do not fit a volume of {n * voxel_mm:.4g} mm.")
    while n > 0 and round(int(n * voxel_mm / spacing_mm + 1e-3) * spacing_mm / voxel_mm) != n:
        n -= 1
    if n == 0:
        raise InputError(f"slices every {spacing_mm:g} mm share no grid with voxels of {voxel_mm:.4g} mm.")
    dropped = (data.shape[axis] - n) // 2
    affine = affine.copy()
    affine[:3, 3] += affine[:3, axis] * dropped
    return np.take(data, np.arange(dropped, dropped + n), axis=axis), affine


def collect(folder: Path) -> tuple[list[dict[str, Any]], int]:
    """Gather the jobs in ``folder``: results.csv, summary.csv, curves.png, images.png; the failed ones are logged.

    Returns:
        The summary, a row for every combination but heads and seeds; and how many jobs failed.

    Raises:
        InputError: if no job succeeded.
    """
    jobs = [json.loads(path.read_text()) | {"folder": path.parent.name} for path in sorted(folder.glob("*/job.json"))]
    failed = [job for job in jobs if "scores" not in job]
    for job in failed:
        log.warning("failed: %s: %s", job["folder"], job["reason"])
    rows = [as_row(job) for job in jobs if "scores" in job]
    if not rows:
        raise InputError(f"none of the {len(jobs)} jobs in {folder} succeeded; their reasons are above.")
    extra = sorted({key for row in rows for key in row} - {*KEYS, *SCORES, "folder"})
    rows.sort(key=lambda row: tuple(str(row.get(key)) for key in (*KEYS, *extra)))
    write_csv(folder / "results.csv", rows, [*KEYS, *extra, *SCORES, "folder"])
    summary = summarise(rows, extra)
    write_csv(folder / "summary.csv", summary, list(summary[0]))
    write_atomically(folder / "curves.png", ".png", draw_curves(summary, DRAWN).savefig)
    write_atomically(folder / "images.png", ".png", draw_comparison(*_pictures(jobs)).savefig)
    return summary, len(failed)


def as_row(job: dict[str, Any]) -> dict[str, Any]:
    """A job on one line."""
    settings = job["settings"]
    told = (word.partition("=") for word in run_overrides(settings["run"]))
    return {
        "method": settings["method"],
        "thickness_mm": settings["thickness"],
        "gap_mm": settings["gap"],
        "profile": settings["profile"]["kind"],
        "axis": settings["axis"],
        "scan_noise": settings["scan_noise"],
        "trim_mm": settings["trim"],
        "volume": nifti_stem(Path(settings["volume"])),
        "seed": settings["seed"],
        **{key: value.strip("'") for key, _, value in told},
        **job["scores"],
        "folder": job["folder"],
    }


def summarise(rows: Sequence[dict[str, Any]], extra: Sequence[str]) -> list[dict[str, Any]]:
    """Mean of every score over heads and seeds, and half the width of its 95 % confidence interval (Student's t)."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    names = [key for key in (*KEYS, *extra) if key not in REPEATS]
    for row in rows:
        groups.setdefault(tuple(row.get(name) for name in names), []).append(row)
    summary = []
    for group, members in sorted(groups.items(), key=lambda item: [(v is None, str(type(v)), v) for v in item[0]]):
        line: dict[str, Any] = {**dict(zip(names, group, strict=True)), "repeats": len(members)}
        for score in SCORES:
            values = [row[score] for row in members if row[score] is not None]
            line[score] = float(np.mean(values)) if values else None
            if score in DRAWN:
                line[f"{score}_ci"] = confidence(values)
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


def write_csv(path: Path, rows: Sequence[dict[str, Any]], columns: Sequence[str]) -> None:
    """Rows as CSV, by way of a temporary name."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, ".csv", lambda temporary: Path(temporary).write_text(text.getvalue()))


def _pictures(jobs: Sequence[dict[str, Any]]) -> tuple[list[str], list[str], dict[tuple[str, str], np.ndarray]]:
    """Rows (acquisitions), columns (truth and methods) and middle slices of the first seed of each."""
    rows: list[str] = []
    columns = ["truth"]
    images: dict[tuple[str, str], np.ndarray] = {}
    for job in jobs:
        if "scores" not in job:
            continue
        settings = job["settings"]
        row = f"{nifti_stem(Path(settings['volume']))}\n{settings['thickness']:g} mm, gap {settings['gap']:g} mm"
        column = " ".join([settings["method"], *run_overrides(settings["run"])])
        rows += [row] if row not in rows else []
        columns += [column] if column not in columns else []
        for name, path in (("truth", job["truth"]), (column, job["estimate"])):
            if (row, name) not in images:
                images[row, name] = middle_slice(Path(path), settings["axis"])
    return rows, columns, images


def middle_slice(path: Path, direction: str) -> np.ndarray:
    """A slice through the middle of the head that contains the slice axis, its axis upright."""
    canonical = nib.as_closest_canonical(nib.load(path))
    data = np.asarray(canonical.dataobj, dtype=np.float32)
    along = slice_axis(canonical.affine, direction)
    across = 1 if along != 1 else 0
    inside = np.argwhere(data > 0.15 * np.percentile(data, 99.5))
    middle = int(np.median(inside[:, across])) if len(inside) else data.shape[across] // 2
    image = np.take(data, middle, axis=across)
    return image.T if along == 2 else image  # rows along the slice axis
