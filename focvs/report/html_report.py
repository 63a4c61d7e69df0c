"""A page for each scan that holds everything: warnings, a viewer, what was known, done and left open."""

from __future__ import annotations

import io
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import nibabel as nib
import numpy as np
import torch
import yaml
from matplotlib.figure import Figure

from focvs import __version__
from focvs.acquisition.interpolation import spline_matrix
from focvs.files import printable, write_atomically
from focvs.reconstruction.bounds import Uncertainty
from focvs.reconstruction.restoration import Restoration
from focvs.report.evidence import draw_evidence, slice_residuals
from focvs.report.figures import DEVIATION, draw_planes
from focvs.report.mosaics import Volume, coded, data_uri, describe_volumes
from focvs.report.pages import MARGIN, by, render
from focvs.report.run_report import Run, RunReport
from focvs.report.views import deviation_window, window_of
from focvs.scan.head import bounding_box

SAME_MM = 0.005  # of thickness and spacing
SOURCES = {
    "override": "as given (thickness=)",
    "sidecar": "the JSON beside the scan",
    "spacing": "assumed: nothing says it",
    "estimate": "estimated from the scan itself",
}
CITATION = (
    "Remedios et al., Cycle-Consistent Zero-Shot Through-Plane Super-Resolution for Anisotropic Head MRI, Information "
    "Processing in Medical Imaging (IPMI) 2025, doi 10.1007/978-3-031-96628-6_17. The replacement is that of Wang, Yu "
    "and Zhang, Zero-Shot Image Restoration Using Denoising Diffusion Null-Space Model, ICLR 2023. Name this software "
    f"and its version as well: FOCVS {__version__}."
)
KINDS = {
    "mean": "the volume",
    "std": "standard deviation of its error",
    "nullstd": "of the part that the scan says nothing about",
    "q05": "lower end of the interval that about 90 % of true intensities lie in",
    "q95": "its upper end",
    "figure": "the picture above",
    "json": "everything on this page for programs: acquisition, residuals, settings, seconds, warnings",
}


@dataclass(frozen=True, eq=False)
class Finished:
    """A run that is over.

    Attributes:
        run: what it worked with.
        restoration: what it gave.
        uncertainty: of that, or None.
        report: what its JSON says.
        paths: files by name, the JSON among them.
    """

    run: Run
    restoration: Restoration
    uncertainty: Uncertainty | None
    report: RunReport
    paths: dict[str, Path]

    @property
    def method(self) -> str:
        """Its name for people."""
        name = self.run.config.method
        return "FOCVS" if name == "focvs" else name.replace("_", " ")


def write_page(finished: Finished, folder: Path) -> Path:
    """Write ``<scan>_<method>.html``: one file that opens without a network and without scripts too.

    Raises:
        InputError: if it cannot be written.
    """
    path = folder / f"{finished.run.scan.result(finished.run.config.method)}.html"
    content = render_page(finished).encode("utf-8", "replace")
    write_atomically(path, ".html", lambda temporary: temporary.write_bytes(content))
    return path


def render_page(finished: Finished) -> str:
    """The page as HTML; whatever comes from files is escaped."""
    run, report = finished.run, finished.report
    residuals = slice_residuals(torch.from_numpy(finished.restoration.mean), run.scan, run.acquisition)
    return render(
        "page.html.j2",
        name=printable(run.scan.path.name),
        method=finished.method,
        acquisition=report.acquisition,
        warnings=list(dict.fromkeys((*run.acquired.warnings, *report.warnings))),
        figure=_picture(finished),
        deviation=finished.uncertainty is not None,
        evidence=_as_uri(draw_evidence(run.scan, run.acquisition, residuals)),
        acquired=_acquired(finished),
        stated=report.acquisition.stated,
        measured=_measured(finished),
        files=[(printable(path.name), _kind(name)) for name, path in finished.paths.items()],
        made=_made(report),
        settings=yaml.safe_dump(report.config, sort_keys=False, allow_unicode=True),
        citation=CITATION,
        volumes=_volumes(finished),
        number=_number,
    )


def _volumes(finished: Finished) -> dict[str, Any]:
    """What the viewer shows: scan, spline, result and deviation around the head."""
    run, scan, grid = finished.run, finished.run.scan, finished.run.acquisition.grid
    spline = (torch.from_numpy(scan.data) @ spline_matrix(grid, margins=False).float().T).numpy()
    nearest = grid.crop(grid.nearest_slices).numpy()
    level = np.float32(scan.background)
    low, high = window_of(scan.data)
    window = (low + scan.background, high + scan.background)
    volumes = {
        "scan": coded(scan.data + level, window, nearest),
        "B-spline": coded(spline + level, window),
        finished.method: coded(finished.restoration.mean + level, window),
    }
    if finished.uncertainty is not None:
        std = finished.uncertainty.std
        shown = deviation_window(std)
        volumes[DEVIATION] = Volume(std, 0.0, max(float(std.max()), shown[1]), shown, deviation=True)
    head = np.asarray(scan.head.any(2))
    across = bounding_box(head if head.any() else np.ones_like(head), MARGIN)
    box = (*across, slice(0, grid.voxels))
    return describe_volumes(volumes, finished.method, run.acquisition.grid.affine(scan.affine), box)


def _acquired(finished: Finished) -> list[tuple[str, str, str]]:
    """Rows of what, how much, and from where."""
    report, a, scan = finished.report, finished.report.acquisition, finished.run.scan
    noise = report.noise_intensity
    rows = [
        ("slices", f"{a.slices} along {a.direction}, every {a.spacing_mm:.4g} mm", "geometry of the file"),
        ("thickness", f"{a.thickness_mm:.4g} mm, {_gap(a.gap_mm)}", SOURCES.get(a.source, a.source)),
        ("profile", f"{a.profile}, full width at half maximum {a.fwhm_mm:.4g} mm", "assumed, as profile= says"),
        ("pixels", f"{by(a.in_plane_mm)} mm", f"detail of {by(a.resolved_mm)} mm is there"),
        ("noise", f"{noise:.4g}", f"standard deviation, {100 * noise / scan.units.white:.2g} % of white"),
        ("orientation", scan.orientation, "where pixels, rows and slices run to"),
    ]
    if (interval := a.thickness_interval_mm) is not None:
        rows.insert(2, ("", f"{interval[0]:.3g} to {interval[1]:.3g} mm", "95 % interval of the estimate"))
    if a.missing_slices:
        rows.append(("not measured", ", ".join(map(str, a.missing_slices)), "slices from 0, filled by the prior"))
    if a.background:
        rows.append(("background", f"{a.background:.4g}", "taken off and put back"))
    for stack in report.stacks:
        size = f"{stack.slices} slices of {stack.thickness_mm:.3g} mm"
        turned = f"turned by {stack.rotation_deg:.2g} degrees, moved by {by(stack.translation_mm)} mm"
        rows.append(("further stack", f"{Path(stack.scan).name}: {size}", f"{turned}, gain {stack.gain:.3g}"))
    if (guide := report.guide) is not None:
        turned = f"turned by {guide.rotation_deg:.2g} degrees, moved by {by(guide.translation_mm)} mm"
        alike = f"{turned}, shows {100 * guide.overlap:.0f} % of the head"
        rows.append(("guide", f"{Path(guide.image).name}, {by(guide.voxel_mm)} mm", alike))
    return rows


def _measured(finished: Finished) -> list[tuple[str, str, str]]:
    """Rows of what, how much, and what that means."""
    report, a, c = finished.report, finished.report.acquisition, finished.report.consistency
    seen = a.slices - len(a.missing_slices)
    held = "the written file, degraded again" if c.final_replacement else "no last exact replacement was made"
    rows = [
        ("measured", f"{100 * seen / a.voxels:.3g} %", f"{seen} of the {a.voxels} values of every column of voxels"),
        ("filled in", f"{100 * (1 - seen / a.voxels):.3g} %", "by the prior, with what the scan says as its condition"),
        ("reproduces the scan", f"to {c.relative_residual:.1e} of its range", held),
    ]
    if c.chi2 is not None and not c.final_replacement:
        rows.append(("chi squared", f"{c.chi2:.3g}", "1 where the scan is followed to its noise"))
    if (uncertainty := finished.uncertainty) is not None:
        total, null = (_root_mean_square(v[uncertainty.std > 0]) for v in (uncertainty.std, uncertainty.nullstd))
        size = f"{100 * total / finished.run.scan.units.white:.2g} % of white"
        share = 100 * (null / max(total, 1e-12)) ** 2
        rows.append((DEVIATION, f"{total:.4g}", f"{size}, root mean square in the head"))
        rows.append(("its variance", f"{share:.3g} %", "is of what was filled in, the rest noise of the scan"))
    if (interval := report.interval) is not None:
        wide = f"{interval.factor:.3g} deviations around the mean, {interval.reason}"
        rows.append(("q05 to q95", f"{100 * interval.level:.0f} %", wide))
    if c.below_floor:
        amount = f"{100 * c.below_floor:.2g} % of voxels"
        rows.append(("below zero", amount, f"by any amount, however small; the lowest is {c.lowest:.4g}"))
    return rows


def _made(report: RunReport) -> list[tuple[str, str]]:
    prior = "none" if report.prior is None else f"{report.prior.name}, SHA-256 {report.prior.sha256}"
    precision = "" if report.precision is None else f", networks in {report.precision.name}"
    libraries = ", ".join(f"{m.__name__} {m.__version__}" for m in (torch, np, nib, matplotlib))
    memory = "" if report.peak_memory_mib is None else f", {report.peak_memory_mib / 1024:.2g} GiB of memory at most"
    rows = [
        ("method", f"{report.method}, {report.evaluations} evaluations of networks on all slices of a plane"),
        ("weights", prior + (", adapted to the scan" if report.prior and report.prior.adapted else "")),
        ("device", f"{report.device}{precision}"),
        ("time", f"{report.seconds['total']:.0f} s{memory}"),
        ("versions", f"focvs {report.version}, Python {platform.python_version()}, {libraries}"),
        ("scan, SHA-256", report.scan_sha256),
    ]
    return rows


def _kind(name: str) -> str:
    return KINDS.get(name, "a volume that it may have been" if name.startswith("sample") else name)


def _picture(finished: Finished) -> str:
    if "figure" in finished.paths:
        return data_uri(finished.paths["figure"].read_bytes(), "image/png")
    run, std = finished.run, None if finished.uncertainty is None else finished.uncertainty.std
    note = run.acquisition.thickness.assumed
    return _as_uri(draw_planes(run.scan, run.acquisition.grid, finished.restoration.mean, std, finished.method, note))


def _as_uri(figure: Figure) -> str:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=90)
    return data_uri(stream.getvalue(), "image/png")


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values, dtype=np.float64).mean())) if values.size else 0.0


def _gap(gap_mm: float) -> str:
    if abs(gap_mm) < SAME_MM:
        return "no gap"
    return f"gap {gap_mm:.3g} mm" if gap_mm > 0 else f"overlap {-gap_mm:.3g} mm"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
