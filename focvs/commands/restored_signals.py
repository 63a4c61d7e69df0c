"""The signals of focvs qmri, each restored by itself on thin voxels as a scan is."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.grid import make_grid
from focvs.acquisition.linear_operator import LinearOperator
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.truncation import KSpaceTruncation
from focvs.commands.overrides import compose, quote, to_schema
from focvs.config import QmriConfig
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.reconstruction.quantitative import Problem
from focvs.reconstruction.signal_domain import Domain
from focvs.reconstruction.thickness import load_profile
from focvs.scan.head import head_mask
from focvs.scan.maps import Volumes
from focvs.scan.nifti import axis_last, read_nifti, write_nifti
from focvs.scan.sidecar import find_thickness
from focvs.scan.units import white_level

log = logging.getLogger(__name__)
LEAST_VOXELS = 5  # along an axis that was cut off
MOST_FACTOR = 8
# by how much deviations of signals that are coarse along two axes or more are widened for every factor beyond 2, as
# networks know slices, whose other axes are sharp; with it maps of a factor of 4 deviate 1.2 to 1.5 times their errors
WIDER = 0.3


@dataclass(frozen=True)
class Restored:
    """A signal on thin voxels.

    Attributes:
        mean: ``(p, q, n)`` float64.
        deviation: ``(p, q, n)`` of its error.
        draws: ``(samples, p, q, n)`` float32 of it.
        affine: ``(4, 4)`` of its voxels.
        warnings: of its restoration, a sentence each.
    """

    mean: np.ndarray
    deviation: np.ndarray
    draws: np.ndarray
    affine: np.ndarray
    warnings: tuple[str, ...] = ()


def pose(signals: np.ndarray, volumes: Volumes, domain: Domain, config: QmriConfig) -> Problem:
    """What there is to work on.

    Args:
        signals: ``(i, j, k, signals)`` on the voxels of the files.
        volumes: the files that they are of.
        domain: what they are.
        config: the acquisition of the files.

    Raises:
        InputError: as :func:`focvs.pipeline.super_resolve`, or for a truncation that does not fit the files.
    """
    if config.truncation is not None:
        return _pose_truncated(signals, volumes, domain, config)
    sizes = nib.affines.voxel_sizes(volumes.affine)
    axis = int(np.argmax(sizes))
    spacing_mm = float(sizes[axis]) if config.spacing is None else config.spacing
    thickness = find_thickness(volumes.path, spacing_mm, config.thickness)
    warnings = [*thickness.warnings, *([thickness.assumed] if thickness.assumed else [])]
    words = [f"thickness={thickness.thickness_mm}", f"profile={_profile(config)}"]
    if config.profile.kind == "slr":
        words.append(f"profile.time_bandwidth={config.profile.time_bandwidth}")
    if config.spacing is not None:
        words.append(f"spacing={config.spacing}")
    found = []
    for k in range(signals.shape[-1]):
        log.info("--- signal %d of %d", k + 1, signals.shape[-1])
        found.append(_restored(signals[..., k], volumes.affine, volumes, config, [*words, f"seed={_seed(config, k)}"]))
    turned = [_turned(one, axis, -1) for one in found]
    voxel_mm = _sizes(axis_last(found[0].mean, found[0].affine, axis)[1])
    profile = load_profile(config.profile, thickness.thickness_mm)
    grid = make_grid(signals.shape[axis], spacing_mm, voxel_mm[-1], profile.half_support_mm)
    measured = np.moveaxis(np.moveaxis(signals, -1, 0), 1 + axis, -1)
    operator = ThroughPlaneOperator(profile, grid, "edge")
    problem = _problem(torch.from_numpy(np.ascontiguousarray(measured)), operator, turned, domain, voxel_mm)
    return replace(problem, axis=axis, warnings=(*warnings, *problem.warnings))


def _pose_truncated(signals: np.ndarray, volumes: Volumes, domain: Domain, config: QmriConfig) -> Problem:
    """The same where k-space was cut off: interpolated by zeros in k-space, then restored along one axis at a time."""
    factors = _factors(config, volumes)
    shape = [n * factor for n, factor in zip(signals.shape[:3], factors, strict=True)]
    operator = KSpaceTruncation(shape, factors)
    affine = volumes.affine @ np.diag([*(1 / np.array(factors)), 1.0])
    affine[:3, 3] -= sum((factor - 1) / 2 * affine[:3, k] for k, factor in enumerate(factors))
    voxel_mm = _sizes(affine)
    measured = torch.from_numpy(np.ascontiguousarray(np.moveaxis(signals, -1, 0)))
    wider = 1 + WIDER * max(0, sorted(factors)[1] - 2)
    found = []
    for k, signal in enumerate(measured):
        log.info("--- signal %d of %d", k + 1, len(measured))
        mean = operator.pseudo_inverse(signal)
        warnings: list[str] = []
        squares, errors = torch.zeros_like(mean), torch.zeros(config.samples, *shape)
        for axis in (a for a in range(3) if factors[a] > 1):
            one = _along(axis, mean, factors[axis], voxel_mm[axis], volumes, config, _seed(config, k, axis))
            mean, squares = torch.from_numpy(one.mean), squares + torch.from_numpy(one.deviation) ** 2
            warnings += one.warnings
            errors += torch.from_numpy(one.draws - one.mean[None].astype(np.float32))
        deviation, draws = wider * squares.sqrt(), (mean + wider * errors).float()
        found.append(Restored(mean.numpy(), deviation.numpy(), draws.numpy(), affine, tuple(warnings)))
    return _problem(measured, operator, found, domain, voxel_mm)


def _along(
    axis: int, volume: Tensor, factor: int, voxel_mm: float, volumes: Volumes, config: QmriConfig, seed: int
) -> Restored:
    """A volume restored along one axis, from what a scan that is cut off along that one alone would have of it."""
    factors = [factor if k == axis else 1 for k in range(3)]
    thick = KSpaceTruncation(volume.shape, factors)(volume).clamp(min=0).movedim(axis, -1).numpy()
    # as a scan of square pixels: what counts is how much coarser this axis is than the others
    affine = np.diag([voxel_mm, voxel_mm, factor * voxel_mm, 1.0])
    words = [f"thickness={factor * voxel_mm}", "profile=kspace", f"voxel={voxel_mm}", f"seed={seed}"]
    return _turned(_restored(thick, affine, volumes, config, words), -1, axis)


def _seed(config: QmriConfig, signal: int, axis: int = 0) -> int:
    """Another one for every signal and axis: their errors are independent before they are made to go together."""
    return 1000 * config.seed + 3 * signal + axis


def _factors(config: QmriConfig, volumes: Volumes) -> list[int]:
    """Of each axis.

    Raises:
        InputError: for another number of them, what is no whole number, or too few voxels.
    """
    given, shape = list(config.truncation or []), volumes.values.shape[:3]
    usual = "give three whole numbers, such as truncation=[1,2,2]"
    if len(given) != 3 or any(int(f) != f or not 1 <= f <= MOST_FACTOR for f in given) or max(given) == 1:
        raise InputError(f"truncation={config.truncation} cannot be used; {usual}, from 1 to {MOST_FACTOR}, not all 1.")
    if config.thickness is not None or config.spacing is not None or config.profile.kind != "gaussian":
        raise InputError("truncation= says what voxels are; leave out thickness=, spacing= and profile=.")
    for axis, factor in enumerate(given):
        if factor > 1 and shape[axis] < LEAST_VOXELS:
            raise InputError(
                f"axis {axis} of the files has {shape[axis]} voxels, and {LEAST_VOXELS} are needed to restore along "
                "it; give 1 for it in truncation=."
            )
    return [int(factor) for factor in given]


def _turned(one: Restored, source: int, target: int) -> Restored:
    """The same with one axis of its volumes in the place of another."""
    mean, deviation = (np.moveaxis(volume, source, target) for volume in (one.mean, one.deviation))
    draws = np.moveaxis(one.draws, source % 3 + 1, target % 3 + 1)
    return replace(one, mean=mean, deviation=deviation, draws=draws)


def _sizes(affine: np.ndarray) -> tuple[float, float, float]:
    first, second, third = (float(mm) for mm in nib.affines.voxel_sizes(affine))
    return first, second, third


def _problem(
    measured: Tensor,
    operator: LinearOperator,
    found: list[Restored],
    domain: Domain,
    voxel_mm: tuple[float, float, float],
) -> Problem:
    """Restored signals together, with the head that the brightest one shows."""
    mean = np.stack([one.mean for one in found])
    brightest = mean[int(np.argmax([white_level(one) for one in mean]))]
    return Problem(
        measured,
        operator,
        torch.from_numpy(mean),
        torch.from_numpy(np.stack([one.deviation for one in found])),
        torch.from_numpy(head_mask(brightest, white_level(brightest))),
        domain,
        voxel_mm,
        torch.from_numpy(np.stack([one.draws for one in found], 1)) if len(found[0].draws) else None,
        found[0].affine,
        warnings=tuple(dict.fromkeys(warning for one in found for warning in one.warnings)),
    )


def _restored(
    signal: np.ndarray, affine: np.ndarray, volumes: Volumes, config: QmriConfig, words: list[str]
) -> Restored:
    """A signal on thin voxels by itself, in the order of its axes; ``volumes`` are the files that it is of."""
    unit = white_level(signal) / 1000  # as other scans have intensities
    with tempfile.TemporaryDirectory(prefix="focvs-") as work:
        scan = Path(work) / "signal.nii.gz"
        write_nifti(scan, (signal / unit).astype(np.float32), affine, volumes.header)
        common = [f"scan={quote(str(scan))}", f"output_dir={quote(work)}", f"quality={config.signal_quality}"]
        common += [f"device={config.device}", "slice_gains=off", "report=false", "figure=false"]
        common.append(f"samples={config.samples}")
        with _without_words_of_a_scan(), _named(scan, volumes.path):
            paths = super_resolve(to_schema(compose("config", [*common, *words])))
        (mean, affine, *_), (deviation, *_) = read_nifti(paths["mean"]), read_nifti(paths["std"])
        samples = [read_nifti(path)[0] for name, path in sorted(paths.items()) if name.startswith("sample-")]
        # signals of maps are above zero whatever theirs are
        said = [w for w in json.loads(paths["json"].read_text())["warnings"] if "nonnegative=" not in w]
    draws = np.stack(samples) if samples else np.empty((0, *mean.shape))
    return Restored(
        unit * mean.astype(np.float64),
        unit * deviation.astype(np.float64),
        (unit * draws).astype(np.float32),
        affine,
        tuple(said),
    )


@contextmanager
def _without_words_of_a_scan() -> Iterator[None]:
    """Leave out what the pipeline says of its scan: it is a signal, in a folder that is gone afterwards."""
    logger = logging.getLogger(super_resolve.__module__)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _named(scan: Path, given: Path) -> Iterator[None]:
    """Name the file that was given in what is wrong with a signal of it."""
    try:
        yield
    except InputError as error:
        raise InputError(str(error).replace(str(scan), str(given)).replace(scan.name, given.name)) from error


def _profile(config: QmriConfig) -> str:
    if config.profile.kind == "sampled":
        return quote(str(config.profile.path))
    return str(config.profile.kind)
