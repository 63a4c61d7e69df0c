"""What sharpened maps leave behind: images, a picture, and what the JSON holds."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence as Many
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from focvs import __version__
from focvs.files import write_atomically
from focvs.reconstruction.quantitative import REFERENCE, Problem, Sharpened
from focvs.report.figures import draw_comparison
from focvs.report.views import PLANES, Tile, View, middle_of
from focvs.scan.maps import Maps
from focvs.scan.nifti import axis_back, axis_last, write_nifti
from focvs.scan.units import white_level
from focvs.signal.sequences import Sequence

KEYS = ("PDmap", "T1map", "T2map")
ROWS = ("proton density", "T1, s", "T2, s")
TIMES, BRIGHT = 4, 2.5  # that deviations are shown larger; of the median of a map, that is white
COLUMNS = ("given", "sharpened", f"{TIMES} x deviation")
SHARES = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
WORTH_SAYING = 2e-3  # of the largest signal, root mean square


def write_maps(
    found: Sharpened, problem: Problem, maps: Maps, wanted: Mapping[str, Sequence], folder: Path
) -> dict[str, Path]:
    """Images of everything, and a picture of the maps before and after."""
    paths = {}

    def write(name: str, volume: Tensor) -> None:
        paths[name] = folder / f"{name}.nii.gz"
        data = axis_back(volume.numpy().astype(np.float32), np.eye(4), problem.axis)[0]
        write_nifti(paths[name], data, problem.affine, maps.header)

    for k, key in enumerate(KEYS):
        write(key, found.maps[..., k])
        write(f"{key}-std", found.deviation[..., k])
    for name, sequence in wanted.items():
        image = torch.zeros(problem.mask.shape, dtype=torch.float64)
        image[problem.mask] = sequence(found.maps[problem.mask])
        write(f"synthesised-{name}", image)
    paths["figure"] = folder / "qmri.png"
    figure = draw_comparison(list(ROWS), list(COLUMNS), _tiles(found, problem, maps))
    write_atomically(paths["figure"], ".png", lambda path: figure.savefig(path, dpi=90))
    return paths


def _tiles(found: Sharpened, problem: Problem, maps: Maps) -> dict[tuple[str, str], Tile]:
    """A plane across the slices of every map: as given (its nearest slices), as found, and its deviation."""
    view = View(axis_last(np.empty((1, 1, 1)), problem.affine, problem.axis)[1])
    nearest = problem.operator.grid.crop(problem.operator.grid.nearest_slices).numpy()
    turned = view(found.maps[..., 0].numpy())
    middle = np.minimum(middle_of(turned, white_level(turned)) + np.array([12, 0, 0]), np.array(turned.shape) - 1)
    axis = next(a for a in (PLANES["coronal"], PLANES["sagittal"]) if a != view.axis_of(2))
    tiles = {}
    for k, row in enumerate(ROWS):
        given = axis_last(maps.values[..., k], maps.affine, problem.axis)[0][..., nearest]
        white = BRIGHT * float(np.median(given[given > 0]))  # fluid, and voxels that are of no tissue, are as bright
        shown = (given, found.maps[..., k].numpy(), TIMES * found.deviation[..., k].numpy())
        for column, volume in zip(COLUMNS, shown, strict=True):
            tiles[row, column] = Tile.of(view(volume.clip(max=white)), view.zooms_mm, axis, int(middle[axis]))
    return tiles


def describe_maps(
    found: Sharpened, problem: Problem, maps: Maps, guides: Many[str], anchored: bool, seconds: float
) -> dict[str, Any]:
    """What the JSON holds.

    Args:
        found: the maps.
        problem: what was measured.
        maps: as they were given.
        guides: their files.
        anchored: whether what was measured was replaced.
        seconds: that it took.
    """
    shown = torch.zeros_like(found.signals)
    inside = problem.mask
    shown[:, inside] = REFERENCE(found.maps[inside]).T
    shown[:, ~inside] = found.signals[:, ~inside]
    error = (problem.operator(shown) - problem.measured).abs()
    scale = problem.measured.amax((1, 2, 3))
    worst = (error.amax((1, 2, 3)) / scale).max()
    typical = (error.pow(2).mean((1, 2, 3)).sqrt() / scale).max()
    warnings = [*maps.warnings, *problem.warnings]
    if anchored and float(typical) > WORTH_SAYING:
        warnings.append(
            f"signals of the written maps are {100 * float(typical):.2g} % (root mean square) from those that were "
            "given: some are of no proton density, T1 and T2 that tissue has."
        )
    return {
        "version": __version__,
        "method": "qmri",
        "guides": [
            {"file": path, "gain": torch.quantile(gain[inside][::97], SHARES).tolist()}
            for path, gain in zip(guides, found.gains, strict=True)
        ],
        "acquisition": {
            "slices": problem.measured.shape[-1],
            "thickness_mm": problem.operator.profile.fwhm_mm,
            "spacing_mm": problem.operator.grid.spacing_mm,
            "profile": problem.operator.profile.kind,
            "voxel_mm": list(problem.voxel_mm),
        },
        "anchored": anchored,
        "residual": {"signals": float(typical), "signals_largest": float(worst)},
        "seconds": round(seconds, 1),
        "warnings": warnings,
    }
