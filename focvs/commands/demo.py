"""focvs demo: generated heads, degraded, restored, scored, and shown beside a spline and the truth."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from focvs.acquisition.interpolation import spline_matrix
from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.tissue_head import CONTRASTS, tissue_head
from focvs.commands.overrides import compose, quote, to_schema
from focvs.commands.simulate import simulate_scan
from focvs.config import DemoConfig, SimulateConfig
from focvs.errors import InputError
from focvs.evaluation.metrics import peak_signal_to_noise, structural_similarity
from focvs.files import require_writable, write_atomically, write_json
from focvs.pipeline import super_resolve
from focvs.reconstruction.forward_model import model_acquisition
from focvs.report.figures import draw_comparison
from focvs.report.views import PLANES, Tile, View, middle_of
from focvs.scan.head import bounding_box, head_mask
from focvs.scan.nifti import axis_last, read_nifti, write_nifti
from focvs.scan.scan import read_scan
from focvs.scan.units import white_level

log = logging.getLogger(__name__)

VOXEL_MM = 1.2
HEIGHT_MM = 144.0
# what is restored, with which quality: a head of tissues as on a scanner, and one of formulas
EXAMPLES = {"head": "default", "phantom": "fast"}
FIELD = {"head": (152, 184), "phantom": (128, 152)}  # voxels left-right and back-front


@dataclass(frozen=True, eq=False)
class Example:
    """A generated head and its scan.

    Attributes:
        name: one of ``EXAMPLES``.
        truth: ``(i, j, k)`` intensities without noise, left-right, back-front, feet-head.
        scan: file of the thick slices.
        voxel_mm: voxel size along the slice axis: whole numbers of slices and of voxels fill one field of view.
    """

    name: str
    truth: np.ndarray
    scan: Path
    voxel_mm: float


def run_demo(config: DemoConfig) -> dict[str, dict[str, float]]:
    """Write heads, scans, results and a picture of all; print the scores beside cubic B-spline.

    Returns:
        PSNR in dB and SSIM of both methods, by name, for each of ``EXAMPLES``.

    Raises:
        InputError: for a spacing, a seed or a contrast that cannot be, or a folder that cannot be written.
    """
    folder = Path(config.output_dir)
    scores: dict[str, dict[str, float]] = {}
    tiles: dict[tuple[str, str], Tile] = {}
    pages: dict[str, Path] = {}
    for name in EXAMPLES:
        example = generate(config, folder, name)
        shown, pages[name] = _restore(example, config.device)
        scores[name] = _scores(example.truth, shown)
        for words, value in scores[name].items():
            log.info("%-8s %-14s %.4g", name, words, value)
        tiles |= _planes(example, shown)
    rows = list(dict.fromkeys(row for row, _ in tiles))
    figure = draw_comparison(rows, ["scan", "B-spline", "FOCVS", "truth"], tiles)
    write_atomically(folder / "comparison.png", ".png", lambda path: figure.savefig(path, dpi=90))
    write_json(folder / "scores.json", {k: {s: round(v, 4) for s, v in one.items()} for k, one in scores.items()})
    log.info("see %s, and open this in a browser: %s", folder / "comparison.png", pages["head"].resolve())
    return scores


def _restore(example: Example, device: str) -> tuple[dict[str, np.ndarray], Path]:
    """Volumes of the scan (its nearest slices), a spline, ours and the truth, by name, and the page."""
    overrides = [f"scan={quote(str(example.scan))}", f"output_dir={quote(str(example.scan.parent))}"]
    overrides += [f"voxel={example.voxel_mm}", f"quality={EXAMPLES[example.name]}", f"device={device}"]
    settings = to_schema(compose("config", [*overrides, "overwrite=true"]))  # what an earlier demo left is its own
    paths = super_resolve(settings)
    scan = read_scan(example.scan)
    grid = model_acquisition(scan, settings).grid
    spline = torch.from_numpy(scan.data) @ spline_matrix(grid, margins=False).float().T
    return {
        "scan": scan.data[..., grid.crop(grid.nearest_slices).numpy()],
        "B-spline": spline.numpy(),
        "FOCVS": axis_last(*read_nifti(paths["mean"])[:2], scan.file_axis)[0],
        "truth": example.truth,
    }, paths["report"]


def _scores(truth: np.ndarray, shown: dict[str, np.ndarray]) -> dict[str, float]:
    white = white_level(truth)
    mask = head_mask(truth, white)
    scores = {}
    for name in ("B-spline", "FOCVS"):
        scores[f"{name} PSNR dB"] = peak_signal_to_noise(truth, shown[name], mask, white)
        scores[f"{name} SSIM"] = structural_similarity(truth, shown[name], mask, white)
    return scores


def _planes(example: Example, shown: dict[str, np.ndarray]) -> dict[tuple[str, str], Tile]:
    """The two planes across the slices of each volume, by row and column of the picture."""
    affine = read_nifti(example.scan.parent / "truth.nii.gz")[1]
    view, white = View(affine), white_level(example.truth)
    middle = middle_of(view(example.truth), white) + np.array([12, 0, 0])  # beside the falx
    box = bounding_box(view(head_mask(example.truth, white)), 8)
    middle -= [side.start for side in box]
    return {
        (f"{example.name}, {across}", column): Tile.of(view(volume)[box], view.zooms_mm, axis, middle[axis])
        for across, axis in PLANES.items()
        if across != "axial"
        for column, volume in shown.items()
    }


def generate(config: DemoConfig, folder: Path, name: str = "head") -> Example:
    """Write ``truth.nii.gz`` (with its noise) and ``scan.nii.gz`` into ``folder/name``.

    Raises:
        InputError: as :func:`run_demo`.
    """
    if not 2 * VOXEL_MM <= config.spacing <= 12 or config.seed < 0:
        raise InputError(
            f"spacing={config.spacing:g} must lie between {2 * VOXEL_MM:g} and 12 mm, and seed={config.seed} must be "
            "at least 0."
        )
    if config.contrast not in CONTRASTS:
        raise InputError(f"contrast={config.contrast} is not known; take one of {', '.join(CONTRASTS)}.")
    folder = folder / name
    require_writable(folder)
    slices = round(HEIGHT_MM / config.spacing)
    shape = (*FIELD[name], round(slices * config.spacing / VOXEL_MM))
    if name == "head":
        clean, noisy = tissue_head(config.contrast, config.seed, shape, VOXEL_MM)
    else:
        clean, noisy = head_phantom(shape, seed=config.seed)
    voxel_mm = np.array([VOXEL_MM, VOXEL_MM, slices * config.spacing / shape[2]])
    affine = np.diag([*voxel_mm, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * voxel_mm
    header = nib.Nifti1Header()
    header["qform_code"] = header["sform_code"] = 1
    header.set_xyzt_units("mm")
    path = folder / "truth.nii.gz"
    write_nifti(path, 1000 * noisy, affine, header)
    simulation = SimulateConfig(
        volume=str(path), output=str(folder / "scan.nii.gz"), thickness=config.thickness, spacing=config.spacing
    )
    simulation.profile.kind = "gaussian"
    return Example(name, 1000 * clean, simulate_scan(simulation), float(voxel_mm[2]))
