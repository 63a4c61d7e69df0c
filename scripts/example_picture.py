"""Draw docs/example.png: ``python scripts/example_picture.py TRUTH [--slices 5:5] [--output docs/example.png]``.

A thin-slice brain is degraded, restored by default settings, and shown in the two planes across its slices: the scan, a
spline through it, FOCVS, and the truth.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmark_quality import degraded_box, quiet_words
from focvs.acquisition.interpolation import spline_matrix
from focvs.commands.overrides import compose, to_schema
from focvs.files import write_atomically
from focvs.pipeline import super_resolve
from focvs.reconstruction.forward_model import model_acquisition
from focvs.report.figures import draw_comparison
from focvs.report.views import PLANES, Tile, View, middle_of
from focvs.scan.head import bounding_box, head_mask
from focvs.scan.nifti import axis_last, read_nifti


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path)
    parser.add_argument("--slices", default="5:5", help="thickness:spacing in mm")
    parser.add_argument("--noise", type=float, default=0.01, help="fraction of the 99.5th percentile")
    parser.add_argument("--output", type=Path, default=Path("docs/example.png"))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        scan, truth, voxel = degraded_box(options.truth, options.slices, 0, Path(name), options.noise)
        config = to_schema(compose("config", quiet_words(scan.path, name, voxel)))
        ours = axis_last(*read_nifti(super_resolve(config)["mean"])[:2], scan.file_axis)[0]
        grid = model_acquisition(scan, config).grid
    spline = (torch.from_numpy(scan.data) @ spline_matrix(grid, margins=False).float().T).numpy()
    nearest = grid.crop(grid.nearest_slices).numpy()
    thickness = options.slices.split(":")[0]
    shown = {f"scan, {thickness} mm": scan.data[..., nearest], "B-spline": spline, "FOCVS": ours, "truth": truth}
    view = View(grid.affine(scan.affine))
    middle = middle_of(view(truth), scan.units.white) + np.array([12, 0, 0])  # beside the falx
    box = bounding_box(view(head_mask(truth, scan.units.white)), 8)
    shown = {column: view(volume)[box] for column, volume in shown.items()}
    middle -= [side.start for side in box]
    tiles = {
        (name, column): Tile.of(volume, view.zooms_mm, PLANES[name], middle[PLANES[name]])
        for name in ("sagittal", "coronal")
        for column, volume in shown.items()
    }
    figure = draw_comparison(["sagittal", "coronal"], list(shown), tiles)
    write_atomically(options.output, ".png", lambda path: figure.savefig(path, dpi=90))


if __name__ == "__main__":
    main()
