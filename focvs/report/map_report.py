"""What sharpened maps leave behind: images, a picture, and what the JSON holds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence as Many
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from nibabel.processing import resample_from_to
from torch import Tensor

from focvs import __version__
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.truncation import KSpaceTruncation
from focvs.config import QmriConfig
from focvs.files import write_atomically
from focvs.reconstruction.guide import Guide
from focvs.reconstruction.quantitative import Problem, Sharpened
from focvs.reconstruction.signal_domain import Found, domain_of_maps
from focvs.report.figures import draw_comparison
from focvs.report.run_report import plain
from focvs.report.views import PLANES, Tile, View, middle_of
from focvs.scan.maps import Volumes
from focvs.scan.nifti import axis_back, axis_last, write_nifti
from focvs.scan.units import white_level
from focvs.signal.sequences import Sequence

METHOD, REPORT, PAGE, PICTURE = "qmri", "qmri.json", "qmri.html", "qmri.png"
KEYS = ("PDmap", "T1map", "T2map")
ROWS = ("proton density", "T1, s", "T2, s")
TIMES, BRIGHT = 4, 2.5  # that deviations are shown larger; of the median of a map, that is white
COLUMNS = ("given", "sharpened", f"{TIMES} x deviation")
SHARES = torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64)
WHOLLY = 0.99  # of a coarse voxel, that is in the head
WORTH_SAYING = 2e-3  # of the largest signal, root mean square


@dataclass(frozen=True, eq=False)
class Given:
    """What was measured, as maps.

    Attributes:
        maps: on coarse voxels; of images, those that they determine.
        found: whether proton density, T1 and T2 are of any meaning.
    """

    maps: Volumes
    found: Found


def map_files(folder: Path, synthesised: Many[str] = ()) -> list[Path]:
    """Every image that may be written: maps, their deviations, and synthesised images by name."""
    names = [f"{key}{ending}" for key in KEYS for ending in ("", "-std")]
    return [folder / f"{name}.nii.gz" for name in (*names, *(f"synthesised-{name}" for name in synthesised))]


def remove_maps(folder: Path) -> None:
    """Remove the maps of an earlier run from a folder that has its JSON: this one may find fewer."""
    try:
        earlier = json.loads((folder / REPORT).read_text()).get("method") == METHOD
    except (OSError, ValueError, AttributeError):
        return
    if earlier:
        for path in (*map_files(folder), folder / PAGE):
            path.unlink(missing_ok=True)


def write_maps(
    found: Sharpened, problem: Problem, given: Given, wanted: Mapping[str, Sequence], folder: Path
) -> dict[str, Path]:
    """Images of everything, and a picture of the maps before and after."""
    paths = {}

    def write(name: str, volume: Tensor) -> None:
        paths[name] = folder / f"{name}.nii.gz"
        data = axis_back(volume.numpy().astype(np.float32), np.eye(4), problem.axis)[0]
        write_nifti(paths[name], data, problem.affine, given.maps.header)

    for k in indices(given):
        write(KEYS[k], found.maps[..., k])
        write(f"{KEYS[k]}-std", found.deviation[..., k])
    for name, sequence in wanted.items():
        image = torch.zeros(problem.mask.shape, dtype=torch.float64)
        image[problem.mask] = sequence(found.maps[problem.mask])
        write(f"synthesised-{name}", image)
    paths["figure"] = folder / PICTURE
    figure = draw_comparison([ROWS[k] for k in indices(given)], list(COLUMNS), _tiles(found, problem, given))
    write_atomically(paths["figure"], ".png", lambda path: figure.savefig(path, dpi=90))
    return paths


def indices(given: Given) -> list[int]:
    """Of the maps that are found."""
    return [k for k in range(3) if given.found[k]]


def _tiles(found: Sharpened, problem: Problem, given: Given) -> dict[tuple[str, str], Tile]:
    """A plane across the slices of every map: as given (its nearest voxels), as found, and its deviation."""
    affine = axis_last(np.empty((1, 1, 1)), problem.affine, problem.axis)[1]
    view = View(affine)
    brightness = found.signals[int(problem.white.argmax())].numpy()
    turned = view(brightness)
    middle = np.minimum(middle_of(turned, white_level(turned)) + np.array([12, 0, 0]), np.array(turned.shape) - 1)
    across = [a for a in (PLANES["coronal"], PLANES["sagittal"]) if a != view.axis_of(2)]
    axis = min(across, key=lambda a: turned.shape[a] * view.zooms_mm[a])  # the larger plane
    tiles = {}
    for k in indices(given):
        white, before = white_of(given, k), nearest_given(problem, given, k)
        shown = (before, found.maps[..., k].numpy(), TIMES * found.deviation[..., k].numpy())
        for column, volume in zip(COLUMNS, shown, strict=True):
            tiles[ROWS[k], column] = Tile.of(view(volume.clip(max=white)), view.zooms_mm, axis, int(middle[axis]))
    return tiles


def white_of(given: Given, k: int) -> float:
    """What is shown as white of a map: fluid, and voxels that are of no tissue, are as bright."""
    values = given.maps.values[..., k]
    return BRIGHT * float(np.median(values[values > 0]))


def nearest_given(problem: Problem, given: Given, k: int) -> np.ndarray:
    """A map as it was given, ``(p, q, n)``: every thin voxel as the coarse one that it lies in."""
    data, own = axis_last(given.maps.values[..., k], given.maps.affine, problem.axis)
    affine = axis_last(np.empty((1, 1, 1)), problem.affine, problem.axis)[1]
    on = resample_from_to(nib.Nifti1Image(data, own), (problem.mask.shape, affine), order=0, mode="nearest")
    return np.asarray(on.dataobj)


def describe_maps(
    found: Sharpened, problem: Problem, given: Given, guides: Many[Guide], config: QmriConfig, seconds: float
) -> dict[str, Any]:
    """What the JSON holds.

    Args:
        found: the maps.
        problem: what was measured.
        given: as it was given.
        guides: as they were aligned.
        config: how.
        seconds: that it took.
    """
    error = (problem.operator(problem.shown(found.maps, found.signals)) - problem.measured).abs()
    scale = problem.measured.amax((1, 2, 3))
    worst, typical = (error.amax((1, 2, 3)) / scale).max(), (error.pow(2).mean((1, 2, 3)).sqrt() / scale).max()
    warnings = [*given.maps.warnings, *problem.warnings, *(w for guide in guides for w in guide.warnings)]
    if config.anchored and float(typical) > WORTH_SAYING:
        warnings.append(
            f"signals of the written maps are {100 * float(typical):.2g} % (root mean square) from those that were "
            "given: some are of no proton density, T1 and T2 that tissue has."
        )
    inside = problem.mask
    return {
        "version": __version__,
        "method": METHOD,
        "maps": [KEYS[k] for k in indices(given)],
        "guides": [
            {
                "file": str(guide.path),
                "rotation_deg": round(guide.rotation_deg, 3),
                "translation_mm": [round(float(mm), 3) for mm in guide.translation_mm],
                "gain": torch.quantile(gain[inside][::97], SHARES).tolist(),
            }
            for guide, gain in zip(guides, found.gains, strict=True)
        ],
        "acquisition": _acquisition(problem),
        "domain": config.domain,
        "anchored": config.anchored,
        "samples": 0 if problem.draws is None else len(problem.draws),
        "residual": {"signals": float(typical), "signals_largest": float(worst), **_residuals(found, problem, given)},
        "config": plain(asdict(config)),
        "seconds": round(seconds, 1),
        "warnings": warnings,
    }


def _acquisition(problem: Problem) -> dict[str, Any]:
    """Of the coarse voxels."""
    operator, voxel_mm = problem.operator, [float(f"{mm:.6g}") for mm in problem.voxel_mm]  # headers are float32
    if isinstance(operator, KSpaceTruncation):
        return {"truncation": list(operator.factors), "voxel_mm": voxel_mm}
    assert isinstance(operator, ThroughPlaneOperator)
    return {
        "slices": operator.grid.slices,
        "thickness_mm": operator.profile.fwhm_mm,
        "spacing_mm": operator.grid.spacing_mm,
        "profile": operator.profile.kind,
        "voxel_mm": voxel_mm,
    }


def _residuals(found: Sharpened, problem: Problem, given: Given) -> dict[str, float]:
    """How far the maps, made coarse, are from those that were given: as signals, and as they are.

    Root mean square over coarse voxels that lie in the head altogether, over the white level of what was given; of the
    worst signal or map. One of the two is that of the domain they were worked on in.
    """
    values = torch.from_numpy(np.ascontiguousarray(np.moveaxis(given.maps.values, problem.axis, 2)))
    inside = (values[..., 0] > 0) & (problem.operator(problem.mask.double()) > WHOLLY)
    residuals = {}
    for kind in ("signal", "map"):
        reference = domain_of_maps(given.found, kind).reference
        shown = torch.zeros(len(reference.sequences), *problem.mask.shape, dtype=torch.float64)
        shown[:, problem.mask] = reference(found.maps[problem.mask]).T
        measured = reference(values[inside])
        error = problem.operator(shown)[:, inside].T - measured
        white = torch.quantile(measured[:: max(1, len(measured) // 10**6)], 0.995, dim=0)
        residuals[f"as_{kind}s"] = float((error.pow(2).mean(0).sqrt() / white).max())
    return residuals
