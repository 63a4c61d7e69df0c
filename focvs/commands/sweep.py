"""focvs sweep: simulate, restore and score one combination of settings."""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import DictConfig

from focvs import __version__
from focvs.commands.overrides import compose, quote, run_overrides, to_schema
from focvs.commands.scores import measure_estimates
from focvs.commands.simulate import simulate_scan
from focvs.config import EvaluateConfig, SimulateConfig, SweepConfig, checkpoints_dir
from focvs.errors import FocvsError, InputError
from focvs.files import write_json
from focvs.pipeline import super_resolve
from focvs.reconstruction.baselines import METHODS
from focvs.reconstruction.thickness import load_profile, require_width
from focvs.report.tables import COLUMNS
from focvs.run_config import NEUTRAL, RunConfig
from focvs.scan.formats import image_stem
from focvs.scan.nifti import DIRECTIONS, axis_along, read_nifti, read_volume, write_nifti

log = logging.getLogger(__name__)
NOTES = {".md", ".txt", ".jsonl", ".png"}  # files beside the weights of a prior that decide nothing
MOST_KEPT = 0.9  # of the voxels along the slice axis, below which cropping is worth a word


def check_job(composed: DictConfig) -> None:
    """Refuse what no job could be done with, before the first one starts.

    Raises:
        InputError: for an unknown method or axis, a missing volume, or a number that cannot be.
        UsageError: for settings of the restoration that are not accepted.
    """
    config: SweepConfig = to_schema(composed)
    compose("config", run_overrides(config.run))
    for key, value, known in (("method", config.method, ("focvs", *METHODS)), ("axis", config.axis, tuple(DIRECTIONS))):
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
    settings["run"] = {key: value for key, value in config.run.items() if key not in (*NEUTRAL, "save_samples")}
    run: RunConfig = to_schema(compose("config", ["scan=none", *run_overrides(config.run)]))
    settings["quality"] = run.quality  # what that stands for is another version's affair
    prior = Path(run.prior.path or checkpoints_dir() / run.prior.name).resolve()
    volume = Path(config.volume).resolve()
    told_apart = (path for path in sorted(prior.rglob("*")) if path.suffix not in NOTES) if prior.is_dir() else ()
    profile = [Path(config.profile.path).resolve()] if config.profile.path else []
    files = [volume, prior, *told_apart, *profile]
    stamps = {str(path): path.stat().st_mtime_ns for path in files if path.is_file()}
    return {**settings, "volume": str(volume), "files": stamps, "version": __version__}


def job_folder(settings: dict[str, Any], parent: Path) -> Path:
    """Where a job goes: the main settings in words, all of them in a short hash."""
    stem, digest = image_stem(Path(settings["volume"])), hash_of(settings)
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
    voxel_mm = float(np.linalg.norm(affine[:3, axis_along(affine, config.axis)]))
    words = [f"scan={quote(str(scan))}", f"output_dir={quote(str(folder))}", f"method={config.method}"]
    words += [f"voxel={voxel_mm}", "progress=false", "report=false", f"seed={config.seed}", *run_overrides(config.run)]
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


def crop_truth(config: SweepConfig, spacing_mm: float, folder: Path) -> Path:
    """Write the volume without the end slices that keep its voxels from being those of a restored scan.

    Raises:
        InputError: for an unreadable volume, an unknown axis, or fewer than two slices' worth of voxels.
    """
    data, affine, header = read_volume(Path(config.volume))
    axis = axis_along(affine, config.axis)
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
