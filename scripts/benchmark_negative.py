"""What holding results above zero changes: ``python scripts/benchmark_negative.py SCAN ... [--truth HEAD ...]``.

Every scan is restored by default settings with ``nonnegative=false``, and the projection of ``nonnegative=auto`` made
of that. Heads given with ``--truth`` are degraded to 4 mm slices with 1 % noise first, as magnitudes, the middle 32
voxels from left to right, and scored. A line for each: share of voxels below zero, the lowest and the highest over the
white level and the highest of the scan, ringing, the largest residual over the range of the scan, PSNR where it is
known, before and after, and seconds.

Ringing is how far voxels lie outside of the range of the nearest slices (three of them, and 3 x 3 pixels), in the mean
over voxels where that range is above half of the white level: edges of fat, vessels and skin. The truth has some of
that as well, since slices average.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

from focvs.acquisition.grid import plane_distance_mm
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.commands.overrides import compose, quote, to_schema
from focvs.evaluation.metrics import peak_signal_to_noise
from focvs.files import write_csv
from focvs.pipeline import super_resolve
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.nonnegative import project_nonnegative
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.nifti import axis_along, axis_last, read_nifti, write_nifti
from focvs.scan.preparation import prepare_scan
from focvs.scan.units import white_level

BOX, THICKNESS_MM, SAME_MM = 32, 4.0, 1e-3
EDGE = 0.5  # of the white level, that the nearest slices differ by
COLUMNS = (
    *("scan", "negative_before", "negative_after", "lowest_before", "lowest_after", "highest_before", "highest_after"),
    *("ringing_before", "ringing_after", "ringing_truth"),
    *("residual_before", "residual_after", "psnr_before", "psnr_after", "seconds"),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", nargs="*", type=Path)
    parser.add_argument("--truth", nargs="+", type=Path, default=[])
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    rows = []
    for path in options.scan:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(measure(path, Path(folder)))
    for path in options.truth:
        with tempfile.TemporaryDirectory() as folder:
            truth, voxel_mm, scan = degrade(path, Path(folder))
            rows.append(measure(scan, Path(folder), truth, voxel_mm))
    if options.csv:
        write_csv(options.csv, rows, list(COLUMNS))


def degrade(path: Path, folder: Path) -> tuple[np.ndarray, float, Path]:
    """The middle of a head, its slices last, its voxel size along them, and a file of its scan."""
    data, affine, header, _ = read_nifti(path)
    data, affine = axis_last(data, affine, axis_along(affine, "inferior-superior"))
    across = next(i for i, code in enumerate(nib.aff2axcodes(affine)) if code in "LR")
    start = (data.shape[across] - BOX) // 2
    data = np.take(data, range(start, start + BOX), axis=across)
    voxel_mm = plane_distance_mm(affine)
    whole = int(data.shape[-1] * voxel_mm // THICKNESS_MM * THICKNESS_MM / voxel_mm)
    data = data[..., :whole]
    slices = simulate_slices(data, voxel_mm, gaussian_profile(THICKNESS_MM), THICKNESS_MM)
    slices = np.abs(slices + 0.01 * white_level(data) * np.random.default_rng(0).standard_normal(slices.shape))
    scan = folder / f"{image_stem(path)}_{THICKNESS_MM:g}mm.nii.gz"
    write_nifti(scan, slices.astype(np.float32), affine @ np.diag([1, 1, THICKNESS_MM / voxel_mm, 1]), header)
    return data, voxel_mm, scan


def measure(path: Path, folder: Path, truth: np.ndarray | None = None, voxel_mm: float = 0.0) -> dict[str, Any]:
    """A row of the table, printed as well; scored where the voxels are those of the truth."""
    words = [
        f"scan={quote(str(path))}",
        f"output_dir={quote(str(folder / 'out'))}",
        "nonnegative=false",
        "figure=false",
        "report=false",
    ]
    words += ["progress=false", "thickness=4"] if truth is not None else ["progress=false"]
    config = to_schema(compose("config", words))
    mean = super_resolve(config)["mean"]
    scan = prepare_scan(path, None)
    acquisition = model_acquisition(scan, config)
    before = torch.from_numpy(axis_last(*read_nifti(mean)[:2], scan.file_axis)[0].copy())
    after, y = before.clone(), torch.from_numpy(scan.data)
    began = time.perf_counter()
    if before.shape[-1] == acquisition.grid.voxels:
        project_nonnegative(after, y, acquisition.written, scan.units.white)
    row: dict[str, Any] = {"scan": image_stem(path), "seconds": round(time.perf_counter() - began, 2)}
    nearest = acquisition.grid.crop(acquisition.grid.nearest_slices).numpy()
    for name, volume in (("before", before), ("after", after)):
        row[f"negative_{name}"] = float((volume < -1e-6 * scan.units.white).double().mean())
        row[f"lowest_{name}"] = float(volume.min()) / scan.units.white
        row[f"highest_{name}"] = float(volume.max() / y.max())
        row[f"ringing_{name}"] = ringing(volume.numpy(), scan.data, nearest, scan.units.white)
        residual = acquisition.written.residual(volume.double(), y.double())
        row[f"residual_{name}"] = float(residual.abs().max() / (y.max() - y.min()))
        if truth is not None and abs(acquisition.grid.voxel_mm - voxel_mm) < SAME_MM:
            n, white = min(truth.shape[-1], volume.shape[-1]), white_level(truth)
            mask = head_mask(truth[..., :n], white)
            row["ringing_truth"] = ringing(truth[..., :n], scan.data, nearest[:n], scan.units.white)
            row[f"psnr_{name}"] = peak_signal_to_noise(truth[..., :n], volume.numpy()[..., :n], mask, white)
    print(
        "  ".join(f"{row[c]:.4g}" if isinstance(row.get(c), float) else str(row.get(c, "")) for c in COLUMNS),
        flush=True,
    )
    return row


def ringing(volume: np.ndarray, slices: np.ndarray, nearest: np.ndarray, white: float) -> float:
    """Mean excess of voxels over the range of the slices around them, where that is wide, over the white level.

    Args:
        volume: ``(p, q, n)``.
        slices: ``(p, q, m)``.
        nearest: ``(n,)`` number of the slice nearest to each voxel.
        white: the white level.
    """
    low, high = (change(slices, size=3)[..., nearest] for change in (ndimage.minimum_filter, ndimage.maximum_filter))
    edge = high - low > EDGE * white
    excess = np.maximum(volume - high, low - volume).clip(0)
    return float(excess[edge].mean()) / white


if __name__ == "__main__":
    main()
