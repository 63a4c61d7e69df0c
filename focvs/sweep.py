"""focvs sweep: simulate, restore and score every combination; one tidy table, its means, and pictures."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from omegaconf import DictConfig
from scipy import stats

from focvs import __version__
from focvs.config import EvaluateConfig, SimulateConfig, SweepConfig, checkpoints_dir
from focvs.errors import FocvsError, InputError
from focvs.evaluate import measure_estimates
from focvs.evaluation.baselines import METHODS
from focvs.forward_model import load_profile, require_width
from focvs.overrides import compose, quote, run_overrides, to_schema
from focvs.pipeline import super_resolve
from focvs.report.figures import draw_comparison, draw_curves
from focvs.report.tables import COLUMNS
from focvs.simulate import AXES, simulate_scan
from focvs.volume import nifti_stem, read_nifti, read_volume, write_atomically, write_csv, write_json, write_nifti

log = logging.getLogger(__name__)

NOTES = {".md", ".txt", ".jsonl", ".png"}  # files beside the weights of a prior that decide nothing
KEYS = ("method", "thickness_mm", "gap_mm", "profile", "axis", "scan_noise", "trim_mm", "volume", "seed")
NEUTRAL = ("batch", "device", "figure", "progress", "save_samples")  # settings that change no score
REPEATS = ("volume", "seed")  # what means are taken over
SCORES = (*COLUMNS, "seconds")
DRAWN = {"psnr_db": "PSNR (dB)", "ssim": "SSIM"}
CONFIDENCE = 0.95
MOST_PICTURES = 60
PICTURED = ("profile", "axis", "scan_noise", "trim_mm")  # named beside a picture where jobs differ in it
MOST_KEPT = 0.9  # of the voxels along the slice axis, below which cropping is worth a word


def check_job(composed: DictConfig) -> None:
    """Refuse what no job could be done with, before the first one starts.

    Raises:
        InputError: for an unknown method or axis, a missing volume, or a number that cannot be.
        UsageError: for settings of the restoration that are not accepted.
    """
    config: SweepConfig = to_schema(composed)
    compose("config", run_overrides(config.run))
    for key, value, known in (("method", config.method, ("focvs", *METHODS)), ("axis", config.axis, tuple(AXES))):
        if value not in known:
            raise InputError(f"{key}={value} is not known; choose one of {', '.join(known)}.")
    if not Path(config.volume).is_file():
        raise InputError(f"{config.volume} does not exist; give a .nii or .nii.gz file.")
    if config.thickness > 0:
        require_width(load_profile(config.profile, config.thickness), config.thickness)
    for key in ("trim", "scan_noise", "seed"):
        if getattr(config, key) < 0:
            raise InputError(f"{key}={getattr(config, key):g} must be at least 0.")


def run_job(config: SweepConfig) -> None:
    """One combination: ``job.json`` in a folder of its own, with its scores or the reason why there are none.

    The folder is named after all settings, so that a job that is done is never done again.
    """
    settings = job_settings(config)
    folder = job_folder(settings, Path(config.output_dir))
    path = folder / "job.json"
    if path.is_file() and "scores" in json.loads(path.read_text()):
        log.info("%s: done already", folder.name)
        path.touch()  # the newest of its settings, whatever was tried between
        return
    try:
        scores, files = _restore_and_score(config, folder)
    except Exception as error:  # whatever it was, the other jobs go on
        reason = str(error) if isinstance(error, FocvsError) else f"{type(error).__name__}: {error}"
        log.error("focvs: %s: %s", folder.name, reason, exc_info=not isinstance(error, (FocvsError, OSError)))
        write_json(path, {"settings": settings, "reason": reason})
        return
    write_json(path, {"settings": settings, "scores": scores, **files})


def job_settings(config: SweepConfig) -> dict[str, Any]:
    """All that decides the outcome of a job; of files, which they are and when they were written."""
    settings = {key: value for key, value in asdict(config).items() if key != "output_dir"}
    settings["run"] = {key: value for key, value in config.run.items() if key not in NEUTRAL}
    told = config.run.get("prior", {})
    prior = Path(told.get("path") or checkpoints_dir() / str(told.get("choice", "head2d"))).resolve()
    volume = Path(config.volume).resolve()
    told_apart = (path for path in sorted(prior.rglob("*")) if path.suffix not in NOTES) if prior.is_dir() else ()
    profile = [Path(config.profile.path).resolve()] if config.profile.path else []
    files = [volume, prior, *told_apart, *profile]
    stamps = {str(path): path.stat().st_mtime_ns for path in files if path.is_file()}
    return {**settings, "volume": str(volume), "files": stamps, "version": __version__}


def job_folder(settings: dict[str, Any], parent: Path) -> Path:
    """Where a job goes: the main settings in words, all of them in a short hash."""
    stem, digest = nifti_stem(Path(settings["volume"])), hash_of(settings)
    words = f"{settings['thickness']:g}mm_gap{settings['gap']:g}_seed{settings['seed']}"
    return parent / f"{stem}_{settings['method']}_{words}_{digest[:8]}"


def hash_of(settings: dict[str, Any]) -> str:
    """The same for the same settings in any order."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def forget_failures(folder: Path) -> None:
    """Remove the records of jobs that failed, so that they are tried again."""
    for path in folder.glob("*/job.json"):
        if "scores" not in json.loads(path.read_text()):
            path.unlink()


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
    words += [f"voxel={voxel_mm}", "progress=false", f"seed={config.seed}", *run_overrides(config.run)]
    run = to_schema(compose("config", words))
    run.profile = profile
    paths = super_resolve(run)
    report = json.loads(paths["json"].read_text())
    evaluation = EvaluateConfig(str(truth), [str(paths["mean"])], scan=str(scan), profile=profile, trim=config.trim)
    evaluation.slice_gains = run.slice_gains
    (row,), _ = measure_estimates(evaluation)
    scores = {name: row[name] for name in COLUMNS}
    scores["seconds"] = report["seconds"]["total"]
    return scores, {"truth": truth.name, "estimate": paths["mean"].name}


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
    data, affine, header = read_volume(Path(config.volume))
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
    if n < MOST_KEPT * data.shape[axis]:
        log.warning(
            "%d of %d voxels along the slice axis are scored: slices every %g mm fit voxels of %.4g mm no better",
            n,
            data.shape[axis],
            spacing_mm,
            voxel_mm,
        )
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


def _pictures(
    folder: Path, jobs: Sequence[dict[str, Any]]
) -> tuple[list[str], list[str], dict[tuple[str, str], np.ndarray]]:
    """Rows (acquisitions), columns (truth and methods) and middle slices of the first head and seed of each."""
    rows: list[str] = []
    columns = ["truth"]
    images: dict[tuple[str, str], np.ndarray] = {}
    done = [job for job in jobs if "scores" in job and (folder / job["folder"] / job["estimate"]).is_file()]
    first = [job for job in done if job["settings"]["volume"] == done[0]["settings"]["volume"]]
    for job in first[:MOST_PICTURES]:
        settings, place = job["settings"], folder / job["folder"]
        row = ", ".join([f"{settings['thickness']:g} mm, gap {settings['gap']:g} mm", *_varying(settings, first)])
        column = " ".join([settings["method"], *run_overrides(settings["run"])])
        rows += [row] if row not in rows else []
        columns += [column] if column not in columns else []
        if (row, column) not in images:
            truth, estimate = middle_slices(place / job["truth"], place / job["estimate"], settings["axis"])
            images[row, column] = estimate
            images.setdefault((row, "truth"), truth)
    return rows, columns, images


def _varying(settings: dict[str, Any], jobs: Sequence[dict[str, Any]]) -> list[str]:
    """What of a scan differs between jobs, besides thickness, gap and seed."""
    row, rows = as_row(settings), [as_row(job["settings"]) for job in jobs]
    return [f"{key} {row[key]}" for key in PICTURED if len({str(other[key]) for other in rows}) > 1]


def middle_slices(truth: Path, estimate: Path, direction: str) -> tuple[np.ndarray, np.ndarray]:
    """The same slice of both, through the middle of the head, with the slice axis upright."""
    both = [nib.as_closest_canonical(nib.load(path)) for path in (truth, estimate)]
    data, other = (np.asarray(image.dataobj, dtype=np.float32) for image in both)
    along = slice_axis(both[0].affine, direction)
    across = 1 if along != 1 else 0
    inside = np.argwhere(data > 0.15 * np.percentile(data, 99.5))
    middle = int(np.median(inside[:, across])) if len(inside) else data.shape[across] // 2
    images = [np.take(volume, middle, axis=across) for volume in (data, other)]
    return (images[0].T, images[1].T) if along == 2 else (images[0], images[1])
