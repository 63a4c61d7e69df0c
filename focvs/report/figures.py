"""Pictures: three planes of scan, spline, ours and uncertainty; the slice profile and its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
import torch
from matplotlib.figure import Figure

from focvs.acquisition.estimation import ProfileEstimate
from focvs.acquisition.grid import ThroughPlaneGrid
from focvs.acquisition.interpolation import spline_matrix
from focvs.scan.scan import Scan

WINDOW_TOP = 0.85  # white at this share of the 99.5th percentile: fat saturates, the brain shows


def draw_planes(
    scan: Scan,
    grid: ThroughPlaneGrid,
    mean: np.ndarray,
    std: np.ndarray | None,
    name: str = "FOCVS",
    note: str = "",
) -> Figure:
    """Rows of axial, coronal and sagittal planes; columns scan, B-spline, the result and, if given, its uncertainty.

    Args:
        scan: the scan.
        grid: slices and voxels.
        mean: ``(p, q, n)`` result in the scan's units.
        std: ``(p, q, n)`` standard deviation, or None for a single sample.
        name: of the method.
        note: a sentence below the pictures.
    """
    data = torch.from_numpy(scan.data)
    nearest = grid.crop(grid.nearest_slices).numpy()
    spline = (data @ spline_matrix(grid, margins=False).float().T).numpy()
    columns = {"scan": scan.data[..., nearest], "B-spline": spline, name: mean}
    top = WINDOW_TOP * scan.units.white
    limits = dict.fromkeys(columns, (0.0, top))
    if std is not None:
        columns["standard deviation"] = std
        limits["standard deviation"] = (0.0, max(float(np.percentile(std[std > 0], 99.5)), 1e-9) if std.any() else 1.0)
    affine = grid.affine(scan.affine)
    canonical = {name: _canonical(v, affine) for name, v in columns.items()}
    sample, zooms = canonical[name]
    inside = np.argwhere(sample > 0.15 * scan.units.white)
    middle = np.median(inside, axis=0).astype(int) if len(inside) else np.array(sample.shape) // 2
    planes = (("axial", 2), ("coronal", 1), ("sagittal", 0))
    extent = np.array(sample.shape) * zooms
    heights = [extent[1], extent[2], extent[2]]
    width = max(extent[0], extent[1])
    size = (3.2 * len(columns), 3.2 * sum(heights) / width + 0.4)
    figure = Figure(figsize=size, facecolor="black", layout="constrained")
    axes = figure.subplots(3, len(columns), height_ratios=heights)
    for row, (plane, axis) in zip(axes, planes, strict=True):
        height, width = np.delete(zooms, axis)[::-1]
        for cell, (title, (volume, _)) in zip(row, canonical.items(), strict=True):
            image = np.take(volume, middle[axis], axis=axis).T
            low, high = limits[title]
            colours = "gray" if title != "standard deviation" else "inferno"
            cell.imshow(image, cmap=colours, vmin=low, vmax=high, origin="lower", aspect=height / width)
            cell.set_axis_off()
            if axis == 2:
                cell.set_title(title, color="white")
        row[0].text(0.01, 0.99, plane, color="white", va="top", transform=row[0].transAxes)
    if note:
        figure.supxlabel(note, color="orange", fontsize="small", wrap=True)
    return figure


def draw_profile(chosen: ProfileEstimate, found: dict[str, ProfileEstimate], spacing_mm: float) -> Figure:
    """The spectra that were compared, and the profiles that make them agree.

    Args:
        chosen: the estimate.
        found: estimates by shape, the chosen one among them.
        spacing_mm: distance of slice centres.
    """
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    spectra, shapes = figure.subplots(1, 2)
    spectra.semilogy(chosen.frequency[1:], chosen.through_plane[1:], "k-", label="across slices")
    spectra.semilogy(chosen.frequency[1:], chosen.in_plane[1:], "C1--", label="in-plane, through the profile")
    spectra.set(xlabel="cycles per mm", ylabel="power", title=f"slices every {spacing_mm:.3g} mm")
    spectra.legend()
    reach = max(e.profile.half_support_mm for e in found.values())
    edges = torch.linspace(-reach, reach, 402, dtype=torch.float64)
    for name, estimate in found.items():
        density = estimate.profile.cumulative(edges).diff() / edges.diff()
        style = "-" if estimate is chosen else ":"
        shapes.plot((edges[1:] + edges[:-1]) / 2, density, style, label=f"{name}, {estimate.profile.fwhm_mm:.2f} mm")
    shapes.set(
        xlabel="mm", ylabel="density", title=f"FWHM {chosen.low_mm:.2f} to {chosen.high_mm:.2f} mm (95 % interval)"
    )
    shapes.legend()
    return figure


def _canonical(volume: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    image = nib.as_closest_canonical(nib.Nifti1Image(volume.astype(np.float32), affine))
    return np.asarray(image.dataobj), np.array(image.header.get_zooms()[:3])


def draw_curves(summary: Sequence[dict[str, Any]], scores: dict[str, str]) -> Figure:
    """A panel for each score against slice thickness: a line for each method and gap, bars its confidence interval.

    Args:
        summary: rows with ``thickness_mm``, each score and its ``_ci``, and what else tells lines apart.
        scores: their titles by key.
    """
    figure = Figure(figsize=(5.5 * len(scores), 4.2), layout="constrained")
    keys = list(summary[0])
    names = [key for key in keys[: keys.index("repeats")] if key not in ("method", "thickness_mm")]
    names = [name for name in names if len({str(row[name]) for row in summary}) > 1]
    lines: dict[str, list[dict[str, Any]]] = {}
    for row in summary:
        told = [f"{name.removesuffix('_mm').replace('_', ' ')} {row[name]}" for name in names if row[name] is not None]
        lines.setdefault(", ".join([row["method"], *told]), []).append(row)
    for panel, (score, title) in zip(np.atleast_1d(figure.subplots(1, len(scores))), scores.items(), strict=True):
        for label, rows in lines.items():
            rows = sorted((r for r in rows if r[score] is not None), key=lambda row: row["thickness_mm"])
            spread = [row[f"{score}_ci"] or 0.0 for row in rows]
            where = [row["thickness_mm"] for row in rows]
            panel.errorbar(where, [row[score] for row in rows], yerr=spread, marker="o", capsize=3, label=label)
        panel.set_xlabel("slice thickness (mm)")
        panel.set_ylabel(title)
        panel.grid(alpha=0.3)
    panel.legend(fontsize="small")
    return figure


def draw_comparison(rows: list[str], columns: list[str], images: dict[tuple[str, str], np.ndarray]) -> Figure:
    """A grid of images ``(h, w)``, bottom row first; cells without one stay empty."""
    figure = Figure(figsize=(2.6 * len(columns), 2.6 * len(rows) + 0.3), facecolor="black", layout="constrained")
    axes = figure.subplots(len(rows), len(columns), squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        top = WINDOW_TOP * float(np.percentile(images[row, columns[0]], 99.5))
        for cell, column in zip(line, columns, strict=True):
            cell.set_axis_off()
            if (row, column) in images:
                cell.imshow(images[row, column], cmap="gray", vmin=0, vmax=top, origin="lower")
            if row == rows[0]:
                cell.set_title(column, color="white", fontsize="small")
        line[0].text(0.01, 0.99, row, color="white", va="top", fontsize="small", transform=line[0].transAxes)
    return figure
