"""The JSON of a run: what was done, on what grounds, and how well the written file reproduces the scan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from focvs import __version__
from focvs.files import write_json
from focvs.hardware import peak_memory_mib
from focvs.priors.intervals import Interval
from focvs.priors.precision import Precision
from focvs.priors.prior import Prior
from focvs.reconstruction.forward_model import Acquisition
from focvs.reconstruction.guide import Guide
from focvs.reconstruction.reconciliation import Reconciliation, StackResidual
from focvs.reconstruction.restoration import Restoration
from focvs.reconstruction.stacks import Stack
from focvs.report.consistency_report import ConsistencyReport, measure_consistency
from focvs.run_config import RunConfig
from focvs.scan.nifti import axis_last, read_nifti
from focvs.scan.pixels import PixelGrid, resolved_mm
from focvs.scan.scan import Scan
from focvs.scan.sidecar import Statement

LAPS = ("total", "prior", "sampling", "network", "replacement", "calibration", "adaptation", "alignment")


@dataclass(frozen=True, eq=False)
class Run:
    """What a run worked with.

    Attributes:
        config: what was asked for.
        acquired: the scan as it was read and its slices made even.
        scan: the same, where asked for without the bias of its magnitudes.
        working: the same on working pixels.
        pixels: between those and the acquired ones.
        acquisition: forward model of the scan.
        stacks: further scans of the head.
        prior: None for a method without one.
        device: torch device.
        precision: of the networks.
        guide: another contrast of the head, or None.
    """

    config: RunConfig
    acquired: Scan
    scan: Scan
    working: Scan
    pixels: PixelGrid
    acquisition: Acquisition
    stacks: tuple[Stack, ...]
    prior: Prior | None
    device: str
    precision: Precision | None = None
    guide: Guide | None = None


@dataclass(frozen=True)
class PriorReport:
    """Which prior it was."""

    name: str
    sha256: str
    adapted: bool


@dataclass(frozen=True)
class SlicesReport:
    """How slices were measured, lengths in mm."""

    direction: str
    spacing_mm: float
    thickness_mm: float
    profile: str
    source: str
    slices: int
    slice_gains: list[float] | None
    pass_field: list[list[list[float]]] | None
    missing_slices: list[int]
    background: float


@dataclass(frozen=True)
class AcquisitionReport(SlicesReport):
    """The same of the first scan, and of the volume made from it; ``axis`` is that of the file."""

    axis: int
    gap_mm: float
    fwhm_mm: float
    thickness_interval_mm: tuple[float, float] | None
    stated: tuple[Statement, ...]
    condition_number: float
    voxels: int
    voxel_mm: float
    in_plane_mm: tuple[float, float]
    resolved_mm: tuple[float, float]
    worked_mm: tuple[float, float]
    rician_bias_removed: bool


@dataclass(frozen=True)
class StackReport(SlicesReport, StackResidual):
    """A further stack, where it lay, and how well the volume reproduces it; noise in intensities of the first."""

    scan: str
    scan_sha256: str
    rotation_deg: float
    translation_mm: list[float]
    gain: float
    correlation: float
    noise_intensity: float


@dataclass(frozen=True)
class GuideReport:
    """A guide, where it lay, and how alike it is; see :class:`focvs.reconstruction.guide.Guide`."""

    image: str
    image_sha256: str
    voxel_mm: tuple[float, float, float]
    rotation_deg: float
    translation_mm: list[float]
    overlap: float
    mutual_information_nats: float
    likeness: float | None
    weights_sha256: str | None


@dataclass(frozen=True)
class RunReport:
    """The content of the JSON."""

    version: str
    scan_sha256: str
    config: dict[str, Any]
    method: str
    prior: PriorReport | None
    acquisition: AcquisitionReport
    noise_intensity: float
    consistency: ConsistencyReport
    interval: Interval | None
    samples: int
    seed: int
    device: str
    precision: Precision | None
    evaluations: int
    seconds: dict[str, float]
    peak_memory_mib: float | None
    warnings: list[str]
    stacks: list[StackReport]
    guide: GuideReport | None = None
    voxels_sha256: dict[str, str] = field(default_factory=dict)


def describe_run(
    run: Run,
    restoration: Restoration,
    warnings: Sequence[str],
    seconds: dict[str, float],
    written: Path,
    digests: dict[str, str],
) -> RunReport:
    """What is to be said of a run.

    Args:
        run: what it worked with.
        restoration: what it gave.
        warnings: a sentence each.
        seconds: by name.
        written: the file of the mean, which is read again.
        digests: hashes of the voxels of images by name.
    """
    config, prior = run.config, run.prior
    if config.isotropic is None:
        volume = torch.from_numpy(axis_last(*read_nifti(written)[:2], run.scan.file_axis)[0] - run.scan.background)
    else:  # other voxels were written
        volume = torch.from_numpy(restoration.mean)
    return RunReport(
        version=__version__,
        scan_sha256=run.acquired.sha256,
        config=plain(asdict(config)),
        method=config.method,
        prior=None if prior is None else PriorReport(config.prior.name, prior.sha256, config.adapt),
        acquisition=_describe_acquisition(run),
        noise_intensity=restoration.noise_intensity,
        consistency=measure_consistency(run.scan, run.acquisition, restoration, volume),
        interval=restoration.interval,
        samples=len(restoration.samples),
        seed=config.seed,
        device=run.device,
        precision=run.precision,
        evaluations=restoration.evaluations,
        seconds={name: round(seconds.get(name, 0.0), 2) for name in LAPS},
        peak_memory_mib=peak_memory_mib(),
        warnings=list(warnings),
        stacks=_describe_stacks(run, volume),
        guide=_describe_guide(run),
        voxels_sha256=digests,
    )


def write_report(report: RunReport, scan: Scan, folder: Path) -> Path:
    """Write the JSON beside the images."""
    path = folder / f"{scan.result(report.method)}.json"
    write_json(path, asdict(report))
    return path


def _describe_slices(scan: Scan, acquisition: Acquisition) -> dict[str, Any]:
    """Values of a :class:`SlicesReport` by name."""
    return {
        "direction": scan.slice_direction,
        "spacing_mm": acquisition.grid.spacing_mm,
        "thickness_mm": acquisition.thickness.thickness_mm,
        "profile": acquisition.profile.kind,
        "source": acquisition.thickness.source,
        "slices": acquisition.grid.slices,
        "slice_gains": None if scan.gains is None else [round(float(g), 5) for g in scan.gains],
        "pass_field": None if scan.pass_field is None else scan.pass_field.round(6).tolist(),
        "missing_slices": list(scan.missing),
        "background": scan.background,
    }


def _describe_acquisition(run: Run) -> AcquisitionReport:
    acquisition, grid = run.acquisition, run.acquisition.grid
    return AcquisitionReport(
        **_describe_slices(run.scan, acquisition),
        axis=run.scan.file_axis,
        gap_mm=round(grid.spacing_mm - acquisition.thickness.thickness_mm, 4),
        fwhm_mm=acquisition.profile.fwhm_mm,
        thickness_interval_mm=acquisition.thickness.interval_mm,
        stated=acquisition.thickness.statements,
        condition_number=acquisition.written.condition_number,
        voxels=grid.voxels,
        voxel_mm=grid.voxel_mm,
        in_plane_mm=run.scan.in_plane_mm,
        resolved_mm=resolved_mm(run.acquired),
        worked_mm=run.working.in_plane_mm,
        rician_bias_removed=run.scan is not run.acquired,
    )


def _describe_stacks(run: Run, volume: Tensor) -> list[StackReport]:
    if not run.stacks:
        return []
    residuals = Reconciliation(run.stacks, run.working, run.acquisition).residuals(run.pixels.average(volume))
    return [
        StackReport(
            **_describe_slices(stack.scan, stack.acquisition),
            **asdict(residual),
            scan=str(stack.scan.path),
            scan_sha256=stack.scan.sha256,
            rotation_deg=stack.rotation_deg,
            translation_mm=[float(v) for v in stack.translation_mm],
            gain=stack.gain,
            correlation=stack.correlation,
            noise_intensity=stack.noise_intensity * stack.gain,
        )
        for stack, residual in zip(run.stacks, residuals, strict=True)
    ]


def _describe_guide(run: Run) -> GuideReport | None:
    if (guide := run.guide) is None:
        return None
    return GuideReport(
        str(guide.path),
        guide.sha256,
        guide.voxel_mm,
        guide.rotation_deg,
        [float(v) for v in guide.translation_mm],
        guide.overlap,
        guide.information,
        guide.likeness,
        None if run.prior is None else run.prior.guided_sha256,
    )


def plain(value: Any) -> Any:
    """Enumerations by their values, in dictionaries of any depth."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value.value if isinstance(value, Enum) else value
