"""Pictures: three planes of scan, spline, ours and uncertainty; the slice profile and its evidence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nibabel as nib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import Normal, Stroke, withStroke

from focvs.acquisition.estimation import ProfileEstimate
from focvs.acquisition.grid import ThroughPlaneGrid
from focvs.acquisition.interpolation import spline_matrix
from focvs.files import printable
from focvs.report.views import PLANES, SIDES, Tile, View, deviation_window, middle_of, plane, window_of
from focvs.scan.scan import Scan

DEVIATION = "standard deviation"
EDGED = [Stroke(linewidth=4, foreground="black"), Normal()]


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
    view = View(grid.affine(scan.affine))
    nearest = grid.crop(grid.nearest_slices).numpy()
    spline = (torch.from_numpy(scan.data) @ spline_matrix(grid, margins=False).float().T).numpy()
    window = window_of(scan.data)
    columns = {"scan": (scan.data[..., nearest], window), "B-spline": (spline, window), name: (mean, window)}
    said = f"{printable(scan.path.name)}, {_interval(window, 'intensities')}"
    if std is not None:
        columns[DEVIATION] = (std, deviation_window(std))
        said += f", {_interval(columns[DEVIATION][1], DEVIATION)}"
    turned, zooms, affine = view(mean), view.zooms_mm, view.turned_affine(mean.shape)
    middle = middle_of(turned, scan.units.white)
    extent = np.array(turned.shape) * zooms
    heights = [extent[1], extent[2], extent[2]]
    tall = 3.2 * sum(heights) / max(extent[0], extent[1])
    above, below = 0.3, 0.6  # inches for titles, and for words
    figure = Figure(figsize=(3.2 * len(columns), tall + above + below), facecolor="black")
    whole = tall + above + below
    margins = {"left": 0, "right": 1, "bottom": below / whole, "top": 1 - above / whole, "wspace": 0.01, "hspace": 0.02}
    axes = figure.subplots(3, len(columns), height_ratios=heights, gridspec_kw=margins)
    for row, (plane_name, axis) in zip(axes, PLANES.items(), strict=True):
        across, up = (a for a in range(3) if a != axis)
        for cell, (title, (volume, limits)) in zip(row, columns.items(), strict=True):
            image = plane(view(volume), axis, middle[axis])
            cell.imshow(
                image,
                cmap="inferno" if title == DEVIATION else "gray",
                vmin=limits[0],
                vmax=limits[1],
                origin="lower",
                aspect=zooms[up] / zooms[across],
            )
            cell.set_axis_off()
            if axis == PLANES["axial"]:
                cell.set_title(title, color="white", y=1.0)  # a place that is given need not be found
            for side, place in zip(SIDES[across], ((0.01, "left"), (0.99, "right")), strict=True):
                _say(cell, side, place[0], 0.5, ha=place[1], va="center")
        at_mm = nib.affines.apply_affine(affine, middle)[axis]
        _say(row[0], f"{plane_name}, {'xyz'[axis]} = {at_mm:.0f} mm", 0.01, 0.99, va="top")
        _draw_bar(row[-1], turned.shape[across], zooms[across])
    words, colour = (f"{said}\n{note}", "orange") if note else (said, "white")
    places: dict[str, Any] = {"ha": "center", "va": "bottom", "wrap": True, "parse_math": False}
    figure.text(0.5, 0.1 / whole, words, color=colour, fontsize="small", **places)
    return figure


def _say(cell: Axes, text: str, x: float, y: float, **places: Any) -> None:
    """White words on a picture, ``x`` and ``y`` in shares of it."""
    edge = [withStroke(linewidth=2, foreground="black")]  # so that it is read on bright tissue as well
    cell.text(x, y, text, color="white", fontsize="small", transform=cell.transAxes, path_effects=edge, **places)


def _interval(window: tuple[float, float], what: str) -> str:
    return f"{what} {window[0]:.4g} to {window[1]:.4g}"


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


def draw_comparison(rows: list[str], columns: list[str], tiles: dict[tuple[str, str], Tile]) -> Figure:
    """A grid of planes, all of a row in one window of intensities; cells without one stay empty."""
    first = {row: next(tiles[row, column] for column in columns if (row, column) in tiles) for row in rows}
    heights = {row: t.pixels.shape[0] * t.pixel_mm[0] / (t.pixels.shape[1] * t.pixel_mm[1]) for row, t in first.items()}
    inches = 2.6 * sum(heights.values()) + 0.3
    figure = Figure(figsize=(2.6 * len(columns), inches), facecolor="black")
    margins = {"left": 0, "right": 1, "bottom": 0, "top": 1 - 0.3 / inches, "wspace": 0.02, "hspace": 0.02}
    ratios = list(heights.values())
    axes = figure.subplots(len(rows), len(columns), squeeze=False, height_ratios=ratios, gridspec_kw=margins)
    for line, row in zip(axes, rows, strict=True):
        windows = [window_of(tiles[row, column].pixels) for column in columns if (row, column) in tiles]
        low, high = min(w[0] for w in windows), max(w[1] for w in windows)
        for cell, column in zip(line, columns, strict=True):
            cell.set_axis_off()
            if (row, column) in tiles:
                tile = tiles[row, column]
                aspect = tile.pixel_mm[0] / tile.pixel_mm[1]
                cell.imshow(tile.pixels, cmap="gray", vmin=low, vmax=high, origin="lower", aspect=aspect)
            if row == rows[0]:
                cell.set_title(column, color="white", fontsize="small", y=1.0)
        _say(line[0], f"{row}\n{_interval((low, high), 'intensities')}", 0.01, 0.99, va="top")
        for side, place in zip(first[row].sides, ((0.01, "left"), (0.99, "right")), strict=True):
            _say(line[0], side, place[0], 0.5, ha=place[1], va="center")
        _draw_bar(line[0], first[row].pixels.shape[1], first[row].pixel_mm[1])
    return figure


def _draw_bar(cell: Axes, columns: int, pixel_mm: float) -> None:
    """A scale bar of 50 or 10 mm at the lower right of a picture of so many columns."""
    bar_mm = 50 if columns * pixel_mm > 80 else 10
    cell.plot(np.array([-bar_mm, 0]) / pixel_mm + 0.97 * columns, [1.5, 1.5], "w-", lw=2, path_effects=EDGED)
    _say(cell, f"{bar_mm} mm", 0.98, 0.03, ha="right", va="bottom")
