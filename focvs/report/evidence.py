"""Pictures of what a run knew of the slices, and of how its result reproduces them."""

from __future__ import annotations

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

from focvs.reconstruction.forward_model import Acquisition
from focvs.scan.scan import Scan

BINS = 80
LEAST = 1e-12  # of the white level, so that logarithms of exact residuals can be drawn


def slice_residuals(volume: Tensor, scan: Scan, acquisition: Acquisition) -> np.ndarray:
    """y - A x of a written volume ``(p, q, n)``: ``(p, q, m)`` over the white level."""
    found = np.empty(scan.data.shape, dtype=np.float32)
    for row, y, out in zip(volume, torch.from_numpy(scan.data), found, strict=True):
        out[:] = (acquisition.written.residual(row.double(), y.double()) / scan.units.white).numpy()
    return found


def draw_evidence(scan: Scan, acquisition: Acquisition, residuals: np.ndarray) -> Figure:
    """Slice profile, brightness of slices; residuals by slice, by place and as a histogram.

    Args:
        scan: the scan.
        acquisition: its forward model.
        residuals: of :func:`slice_residuals`.
    """
    figure = Figure(figsize=(12, 6))  # margins by hand: a layout that finds them takes a second
    margins = {"left": 0.06, "right": 0.98, "bottom": 0.09, "top": 0.94, "wspace": 0.28, "hspace": 0.38}
    placed = figure.subplot_mosaic("pgs;mhh", gridspec_kw=margins)
    panels = dict(
        zip(("profile", "gains", "slices", "map", "histogram"), map(placed.__getitem__, "pgsmh"), strict=True)
    )
    reach = acquisition.grid.spacing_mm + acquisition.profile.half_support_mm
    edges = torch.linspace(-reach, reach, 402, dtype=torch.float64)
    centres = (edges[1:] + edges[:-1]).numpy() / 2
    for k in (-1, 0, 1):
        density = acquisition.profile.cumulative(edges - k * acquisition.grid.spacing_mm).diff() / edges.diff()
        panels["profile"].plot(centres, density, "C0-" if k == 0 else "C0:", lw=2 if k == 0 else 1)
    panels["profile"].set(title="what a slice sees, and its neighbours", xlabel="mm", ylabel="density per mm")
    numbers = np.arange(acquisition.grid.slices)
    gains = np.ones(len(numbers)) if scan.gains is None else scan.gains
    panels["gains"].plot(numbers, gains, ".-" if scan.gains is not None else "-")
    panels["gains"].set(title="brightness that was divided out", xlabel="slice", ylabel="factor")
    sizes = np.sqrt(np.square(residuals, dtype=np.float64).mean((0, 1)))
    panels["slices"].semilogy(numbers, np.maximum(sizes, LEAST), ".-")
    panels["slices"].set(title="scan less slices of the result", xlabel="slice", ylabel="root mean square / white")
    by_place = np.sqrt(np.square(residuals, dtype=np.float64).mean(2))
    aspect = scan.in_plane_mm[1] / scan.in_plane_mm[0]
    shown = panels["map"].imshow(by_place.T, origin="lower", cmap="magma", aspect=aspect)
    panels["map"].set(title="the same by place, over all slices")
    panels["map"].set_axis_off()
    figure.colorbar(shown, ax=panels["map"], shrink=0.8, label="root mean square / white")
    flat = residuals[scan.head] if scan.head.any() else residuals.ravel()
    panels["histogram"].hist(flat, bins=BINS, log=True)
    panels["histogram"].set(
        title="scan less slices of the result, in the head", xlabel="share of the white level", ylabel="pixels"
    )
    return figure
