"""A page of sharpened maps that holds everything: warnings, a viewer, what was acquired, found and made of it."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import scipy
import torch
import yaml

from focvs.files import printable, write_atomically
from focvs.reconstruction.quantitative import Problem, Sharpened
from focvs.report.map_report import PAGE, Given, indices, nearest_given, white_of
from focvs.report.mosaics import Volume, data_uri, describe_volumes
from focvs.report.pages import MARGIN, by, render
from focvs.scan.head import bounding_box
from focvs.scan.maps import NAMES
from focvs.scan.nifti import axis_last

MAIN = (1, 0, 2)  # the map that is shown at first: T1 where there is one
CODED = 2.0  # times what is shown as white, that is coded; fluid is brighter
UNITS = ("", " ms", " ms")
CITATION = (
    "The guides and the signal equations are after Samadifardheris et al., Self-Supervised Weighted Image Guided "
    "Quantitative MRI Super-Resolution; the replacement is that of Wang, Yu and Zhang, Zero-Shot Image Restoration "
    "Using Denoising Diffusion Null-Space Model, ICLR 2023. Name this software and its version as well: FOCVS "
)
KINDS = {
    "PDmap": "proton density, in the unit of what was given",
    "T1map": "T1 in seconds",
    "T2map": "T2 in seconds",
    "figure": "the picture above",
    "json": "everything on this page for programs",
}


@dataclass(frozen=True, eq=False)
class FinishedMaps:
    """Maps that were found.

    Attributes:
        found: the maps.
        problem: what was measured.
        given: as it was given.
        report: what the JSON says.
        paths: files by name, the JSON among them.
    """

    found: Sharpened
    problem: Problem
    given: Given
    report: Mapping[str, Any]
    paths: Mapping[str, Path]


def write_map_page(finished: FinishedMaps, folder: Path) -> Path:
    """Write ``qmri.html``: one file that opens without a network and without scripts too.

    Raises:
        InputError: if it cannot be written.
    """
    path = folder / PAGE
    content = render_map_page(finished).encode("utf-8", "replace")
    write_atomically(path, ".html", lambda temporary: temporary.write_bytes(content))
    return path


def render_map_page(finished: FinishedMaps) -> str:
    """The page as HTML; whatever comes from files is escaped."""
    report = finished.report
    config = report["config"]
    voxel_mm = report["acquisition"]["voxel_mm"]
    samples = report["samples"]
    measured = config["images"] or [config[key] for key in ("density", "t1", "t2") if config[key] is not None]
    return render(
        "maps.html.j2",
        name="Quantitative maps",
        voxel=by(voxel_mm),
        sources=printable(", ".join(Path(path).name for path in measured)),
        warnings=list(dict.fromkeys(report["warnings"])),
        figure=data_uri(finished.paths["figure"].read_bytes(), "image/png"),
        acquired=_acquired(finished),
        found=_found(finished),
        deviation=f"of {samples} results" if samples else "to first order",
        measured=_measured(report),
        files=[(printable(path.name), _kind(name)) for name, path in finished.paths.items()],
        made=_made(report),
        settings=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        citation=f"{CITATION}{report['version']}.",
        volumes=_volumes(finished),
    )


def _volumes(finished: FinishedMaps) -> dict[str, Any]:
    """What the viewer shows: every map as it was given and as it was found, and its deviation."""
    found, problem, given = finished.found, finished.problem, finished.given
    volumes = {}
    there = indices(given)
    for k in there:
        name, white = NAMES[k], white_of(given, k)
        window, high = (0.0, white), CODED * white
        maps, deviation = (v[..., k].numpy().astype(np.float32) for v in (found.maps, found.deviation))
        volumes[f"{name} given"] = Volume(nearest_given(problem, given, k), 0.0, high, window, group=name)
        volumes[name] = Volume(maps, 0.0, high, window, group=name)
        shown = (0.0, 0.25 * white)
        volumes[f"{name} deviation"] = Volume(deviation, 0.0, 2 * shown[1], shown, deviation=True, group=name)
    across = bounding_box(problem.mask.any(2).numpy(), MARGIN)
    affine = axis_last(np.empty((1, 1, 1)), problem.affine, problem.axis)[1]
    main = NAMES[next(k for k in MAIN if k in there)]
    return describe_volumes(volumes, main, affine, (*across, slice(0, problem.mask.shape[2])))


def _acquired(finished: FinishedMaps) -> list[tuple[str, str, str]]:
    """Rows of what, how much, and from where."""
    acquisition, given = finished.report["acquisition"], finished.given.maps
    coarse = by([float(mm) for mm in nib.affines.voxel_sizes(given.affine)])
    rows = [("measured", " x ".join(map(str, given.values.shape[:3])) + " voxels", f"of {coarse} mm")]
    if "truncation" in acquisition:
        factors = by(acquisition["truncation"])
        rows.append(("k-space cut off", factors, "times, along the axes of the files, as truncation= says"))
    else:
        size = f"{acquisition['slices']} every {acquisition['spacing_mm']:.4g} mm"
        rows.append(("slices", size, f"{acquisition['thickness_mm']:.4g} mm thick, profile {acquisition['profile']}"))
    for guide in finished.report["guides"]:
        low, _, high = guide["gain"]
        moved = ", ".join(f"{mm + 0.0:.2g}" for mm in guide["translation_mm"])
        turned = f"turned by {guide['rotation_deg']:.2g} degrees, moved by {moved} mm"
        rows.append(("guide", Path(guide["file"]).name, f"{turned}, gain {low:.4g} to {high:.4g}"))
    return rows


def _found(finished: FinishedMaps) -> list[tuple[str, str, str, str]]:
    """Rows of a map, its median in the head, that of its deviation, and the latter as a share."""
    found, inside = finished.found, finished.problem.mask
    rows = []
    for k in indices(finished.given):
        scale = 1000 if UNITS[k] else 1
        value, size = (float(v[inside][:, k].median()) * scale for v in (found.maps, found.deviation))
        unit = UNITS[k]
        rows.append((NAMES[k], f"{value:.4g}{unit}", f"{size:.3g}{unit}", f"{100 * size / max(value, 1e-12):.2g} %"))
    return rows


def _measured(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Rows of how well what was measured is reproduced."""
    residual = report["residual"]
    held = "replaced exactly" if report["anchored"] else "not replaced, as anchored=false says"
    worst = f"at most {100 * residual['signals_largest']:.2g} % of the largest"
    return [
        ("what was measured", held, f"worked on as {report['domain']}s"),
        ("missed as signals", _percent(residual["as_signals"]), f"root mean square in the head, of white; {worst}"),
        ("missed as maps", _percent(residual["as_maps"]), "the same; partial volume is not linear in maps"),
    ]


def _made(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    config = report["config"]
    libraries = ", ".join(f"{m.__name__} {m.__version__}" for m in (torch, np, scipy, nib))
    return [
        ("method", "signals restored one by one, a fit of all of them in every voxel, what was measured replaced"),
        ("signals", f"signal_quality={config['signal_quality']}, {report['samples'] or 'no'} samples of each"),
        ("time", f"{report['seconds']:.0f} s"),
        ("versions", f"focvs {report['version']}, Python {platform.python_version()}, {libraries}"),
    ]


def _kind(name: str) -> str:
    if name.endswith("-std"):
        return f"standard deviation of the error of {name.removesuffix('-std')}"
    if name.startswith("synthesised-"):
        return f"what the protocol {printable(name.removeprefix('synthesised-'))} would show"
    return KINDS[name]


def _percent(share: float) -> str:
    return f"{100 * share:.2g} %"
