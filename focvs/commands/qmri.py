"""focvs qmri: maps of proton density, T1 and T2 on thin voxels, with sharp weighted images as guides."""

from __future__ import annotations

import json
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from nibabel.processing import resample_from_to
from torch import Tensor

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.commands.overrides import compose, quote, to_schema
from focvs.config import QmriConfig
from focvs.errors import InputError
from focvs.files import require_reachable, require_writable, write_json
from focvs.pipeline import super_resolve
from focvs.reconstruction.quantitative import REFERENCE, Guide, Problem, sharpen_maps
from focvs.reconstruction.thickness import load_profile
from focvs.report.map_report import describe_maps, write_maps
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.maps import Maps, read_maps
from focvs.scan.nifti import axis_back, axis_last, read_nifti, read_volume, write_nifti
from focvs.scan.sidecar import find_thickness, read_sidecar
from focvs.scan.units import white_level
from focvs.signal.protocols import sequence_of
from focvs.signal.sequences import Sequence

log = logging.getLogger(__name__)
WEIGHTINGS = ("proton density", "T2", "T1")  # of the reference sequences
LEAST_SEEN = 0.9  # of the head, that a guide covers


def sharpen(config: QmriConfig) -> dict[str, Path]:
    """Write ``PDmap``, ``T1map``, ``T2map``, their deviations, images that are to be synthesised, a picture and a JSON.

    Returns:
        Paths by name.

    Raises:
        InputError: for maps, guides, protocols or an option that cannot be worked with, or a folder that cannot be
            written; nothing is written then.
    """
    began = time.perf_counter()
    folder = Path(config.output_dir)
    require_reachable(folder)
    if not 0 < config.guide_error < 1:
        raise InputError(f"guide_error={config.guide_error:g} must be above 0 and below 1, a share of the white level.")
    maps = read_maps(Path(config.density), Path(config.t1), Path(config.t2))
    protocols = [protocol_of(Path(p), kind) for p, kind in zip(config.guides, _kinds(config), strict=True)]
    wanted = {Path(p).stem: sequence_of(_json(Path(p)), Path(p).name) for p in config.synthesise}
    problem = pose(maps, config)
    guides = [
        Guide(guide_on(Path(path), problem), sequence, config.guide_error)
        for path, sequence in zip(config.guides, protocols, strict=True)
    ]
    found = sharpen_maps(
        problem.measured,
        problem.operator,
        problem.estimate,
        problem.deviation,
        problem.mask,
        guides,
        problem.voxel_mm,
        config.anchored,
    )
    require_writable(folder)
    paths = write_maps(found, problem, maps, wanted, folder)
    seconds = time.perf_counter() - began
    report = describe_maps(found, problem, maps, config.guides, config.anchored, seconds)
    paths["json"] = folder / "qmri.json"
    write_json(paths["json"], report)
    for warning in report["warnings"]:
        log.warning("%s", warning)
    log.info("wrote %s, relative residual of the signals %.1e", folder, report["residual"]["signals"])
    return paths


def protocol_of(image: Path, kind: str | None) -> Sequence:
    """The sequence of a guide, from the JSON beside it.

    Raises:
        InputError: where there is none, or it does not tell.
    """
    return sequence_of(_json(image.with_name(image_stem(image) + ".json")), image.name, kind)


def pose(maps: Maps, config: QmriConfig) -> Problem:
    """The signals of the reference sequences that maps in thick slices have, and each restored by itself.

    Raises:
        InputError: as :func:`focvs.pipeline.super_resolve`.
    """
    known = maps.values[..., 0] > 0
    signals = np.zeros((*known.shape, len(REFERENCE.sequences)))
    signals[known] = REFERENCE(torch.from_numpy(maps.values[known])).numpy()
    axis = int(np.argmax(nib.affines.voxel_sizes(maps.affine)))
    spacing_mm = float(nib.affines.voxel_sizes(maps.affine)[axis]) if config.spacing is None else config.spacing
    thickness = find_thickness(Path(config.t1), spacing_mm, config.thickness)
    thickness_mm, warnings = thickness.thickness_mm, list(thickness.warnings)
    if thickness.assumed:
        warnings.append(thickness.assumed)
    estimates: list[np.ndarray] = []
    deviations: list[np.ndarray] = []
    for k, name in enumerate(WEIGHTINGS):
        log.info("--- signal of %s weighting, %d of %d", name, k + 1, signals.shape[-1])
        mean, deviation, affine = _restored(signals[..., k], maps, thickness_mm, config)
        estimates.append(axis_last(mean, affine, axis)[0])
        deviations.append(axis_last(deviation, affine, axis)[0])
    measured = np.stack([axis_last(signals[..., k], maps.affine, axis)[0] for k in range(signals.shape[-1])])
    voxel_mm = nib.affines.voxel_sizes(axis_last(mean, affine, axis)[1])
    profile = load_profile(config.profile, thickness_mm)
    grid = make_grid(measured.shape[-1], spacing_mm, float(voxel_mm[-1]), profile.half_support_mm)
    operator = ThroughPlaneOperator(profile, grid, "edge")
    estimate = np.stack(estimates)
    return Problem(
        torch.from_numpy(measured),
        operator,
        torch.from_numpy(estimate),
        torch.from_numpy(np.stack(deviations)),
        torch.from_numpy(head_mask(estimate[0], white_level(estimate[0]))),
        affine,
        axis,
        (float(voxel_mm[0]), float(voxel_mm[1]), float(voxel_mm[2])),
        tuple(warnings),
    )


def _restored(
    signal: np.ndarray, maps: Maps, thickness_mm: float, config: QmriConfig
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A signal on thin voxels by itself, the deviation of its error, and their affine."""
    unit = white_level(signal) / 1000  # as other scans have intensities
    with tempfile.TemporaryDirectory(prefix="focvs-") as work:
        scan = Path(work) / "signal.nii.gz"
        write_nifti(scan, (signal / unit).astype(np.float32), maps.affine, maps.header)
        words = [f"scan={quote(str(scan))}", f"output_dir={quote(work)}", f"thickness={thickness_mm}"]
        words += [f"quality={config.signal_quality}", f"device={config.device}", "slice_gains=off", "report=false"]
        words += ["figure=false", f"profile={_profile(config)}"]
        if config.profile.kind == "slr":
            words.append(f"profile.time_bandwidth={config.profile.time_bandwidth}")
        if config.spacing is not None:
            words.append(f"spacing={config.spacing}")
        paths = super_resolve(to_schema(compose("config", words)))
        (mean, affine, *_), (deviation, *_) = read_nifti(paths["mean"]), read_nifti(paths["std"])
    return unit * mean.astype(np.float64), unit * deviation.astype(np.float64), affine


def guide_on(path: Path, problem: Problem) -> Tensor:
    """A guide on the thin voxels, ``(p, q, n)``, by cubic splines.

    Raises:
        InputError: where it does not cover the head.
    """
    data, affine, header = read_volume(path)
    shape = axis_back(np.empty(problem.mask.shape, bool), np.eye(4), problem.axis)[0].shape
    moved = resample_from_to(nib.Nifti1Image(data, affine, header), (shape, problem.affine), order=3, cval=np.nan)
    values = axis_last(moved.get_fdata(), problem.affine, problem.axis)[0]
    seen = np.isfinite(values) & (values > 0)
    share = float(seen[problem.mask.numpy()].mean())
    if share < LEAST_SEEN:
        raise InputError(
            f"{path.name} shows {100 * share:.0f} % of the head of the maps; a guide of the same head in the same "
            f"space shows at least {100 * LEAST_SEEN:.0f} %: register it first."
        )
    return torch.from_numpy(np.where(seen, values, 0.0))


def _profile(config: QmriConfig) -> str:
    if config.profile.kind == "sampled":
        return quote(str(config.profile.path))
    return str(config.profile.kind)


def _kinds(config: QmriConfig) -> list[str | None]:
    """A kind or None for each guide.

    Raises:
        InputError: for a list of another length.
    """
    if not config.sequences:
        return [None] * len(config.guides)
    if len(config.sequences) != len(config.guides):
        raise InputError(
            f"sequences= has {len(config.sequences)} values for {len(config.guides)} guides; give one for "
            "each, or null."
        )
    return [None if kind is None else str(kind) for kind in config.sequences]


def _json(path: Path) -> dict[str, Any]:
    """The content of a sidecar.

    Raises:
        InputError: where it is missing or none.
    """
    try:
        return read_sidecar(path)
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise InputError(f"{path} could not be read ({error}); a guide needs the JSON of its protocol.") from error
