"""How well uneven passes are mended: ``python scripts/benchmark_passes.py TRUTH [TRUTH ...] [--csv FILE]``.

Each thin-slice volume is degraded into a scan with 1 % noise, as it is and with odd slices brighter than even ones by a
smooth field of random sign (2, 4 and 6 % root mean square, bias-field-shaped), and evened as ``slice_gains=auto`` does.
A line for each: the evidence for a field, the root mean square of half the odd/even log ratio in the head before and
after, and PSNR of cubic B-spline and one exact replacement of both against the truth.
Further scans given with ``--scans`` are real ones: evidence, root mean square of the field that was found, and the
contrast of their odd/even lines before and after it was divided out.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from focvs.acquisition.grid import make_grid, plane_distance_mm
from focvs.acquisition.interpolation import interpolation_matrix
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.evaluation.metrics import peak_signal_to_noise
from focvs.files import write_csv
from focvs.scan.brightness import balance_odd_even, balance_slices, bright_head
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.nifti import axis_along, axis_last, read_nifti
from focvs.scan.pass_field import CLEAR, find_pass_field, signs_of
from focvs.scan.scan import Scan, read_scan
from focvs.scan.units import white_level

SLICES = ("4:4", "3:3", "5:6.5")
STRENGTHS = (0.0, 0.02, 0.04, 0.06)
COLUMNS = ("scan", "thickness_mm", "spacing_mm", "strength", "evidence", "before", "after", "psnr_before", "psnr_after")
SCAN_COLUMNS = ("scan", "evidence", "evened", "field", "lines_before", "lines_after")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="*", type=Path)
    parser.add_argument("--scans", nargs="+", type=Path, default=[])
    parser.add_argument("--slices", nargs="+", default=list(SLICES), help="thickness:spacing in mm")
    parser.add_argument("--csv", type=Path, help="of the heads")
    parser.add_argument("--scans-csv", type=Path)
    options = parser.parse_args()
    rows = []
    for path in options.truth:
        for words in options.slices:
            for row in simulate(path, *map(float, words.split(":"))):
                rows.append(row)
                print(
                    "  ".join(f"{row[c]:8.4g}" if isinstance(row[c], float) else f"{row[c]:22s}" for c in COLUMNS),
                    flush=True,
                )
    scans = []
    for path in options.scans:
        scans.append(inspect(path))
        print("  ".join(f"{v:8.4f}" if isinstance(v, float) else f"{v!s:22s}" for v in scans[-1].values()), flush=True)
    if options.csv:
        write_csv(options.csv, rows, list(COLUMNS))
    if options.scans_csv:
        write_csv(options.scans_csv, scans, list(SCAN_COLUMNS))


def inspect(path: Path) -> dict[str, Any]:
    """A row of a real scan."""
    scan = balance_odd_even(read_scan(path), "auto")
    found = find_pass_field(torch.from_numpy(scan.data), bright_head(scan), scan.in_plane_mm, scan.spacing_mm)
    evened = balance_slices(scan, "auto")
    return {
        "scan": image_stem(path),
        "evidence": found.evidence if found else float("nan"),
        "evened": bool(found and found.evidence > CLEAR),
        "field": float(found.log_ratio.square().mean().sqrt()) if found else float("nan"),
        "lines_before": lines(scan),
        "lines_after": lines(evened),
    }


def lines(scan: Scan) -> float:
    """Contrast of odd/even lines: root mean square over places of the smoothed alternating part of the logarithms."""
    data, mask = scan.data.astype(np.float64), bright_head(scan).numpy()
    inside = mask[..., 2:] & mask[..., 1:-1] & mask[..., :-2]
    logs = np.log(np.maximum(data, 1e-3 * scan.units.white))
    above = (logs[..., 1:-1] - (logs[..., 2:] + logs[..., :-2]) / 2) / 2 * signs_of(data.shape[-1]).numpy()[1:-1]
    above = np.where(inside, np.clip(above, -0.1, 0.1), 0)
    widths = (12 / scan.in_plane_mm[0], 12 / scan.in_plane_mm[1], 12 / scan.spacing_mm)
    weight = gaussian_filter(inside.astype(float), widths)
    smooth = gaussian_filter(above, widths) / np.maximum(weight, 1e-6)
    return float(np.sqrt((smooth[inside & (weight > 0.3)] ** 2).mean()))


def bias_shape(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A smooth field of root mean square 1 that differs from place to place, and not by a constant alone."""
    rough = rng.standard_normal(shape)
    smooth = gaussian_filter(rough, [n / 5 for n in shape], mode="reflect")
    smooth = smooth / smooth.std() + 0.5 * rng.standard_normal()
    return smooth / np.sqrt((smooth**2).mean())


def simulate(path: Path, thickness_mm: float, spacing_mm: float) -> list[dict[str, Any]]:
    """A row for each strength of a field."""
    data, affine, header, _ = read_nifti(path)
    axis = axis_along(affine, "inferior-superior")
    data, affine = axis_last(data, affine, axis)
    voxel_mm = plane_distance_mm(affine)
    profile = gaussian_profile(thickness_mm)
    clean = simulate_slices(data, voxel_mm, profile, spacing_mm)
    rng = np.random.default_rng(0)
    clean = clean + 0.01 * white_level(clean) * rng.standard_normal(clean.shape, np.float32)
    clean = np.abs(clean)
    even = Scan(path, clean, affine @ np.diag([1.0, 1.0, spacing_mm / voxel_mm, 1.0]), header, axis)
    field = bias_shape(clean.shape, rng) * signs_of(clean.shape[-1]).numpy()
    grid = make_grid(clean.shape[-1], spacing_mm, voxel_mm, profile.half_support_mm)
    matrix = interpolation_matrix(ThroughPlaneOperator(profile, grid, "edge")).float()
    white = white_level(data)

    def score(scan: Scan) -> float:
        volume = (torch.from_numpy(scan.data) @ matrix.T).numpy()
        n = min(volume.shape[-1], data.shape[-1])
        a, b = (v[..., (v.shape[-1] - n) // 2 :][..., :n] for v in (volume, data))
        return peak_signal_to_noise(b, a, head_mask(b, white), white)

    rows = []
    head = bright_head(even).numpy()
    for strength in STRENGTHS:
        logs = strength / 2 * field
        uneven = replace(even, data=(clean * np.exp(logs)).astype(np.float32))
        passes = balance_odd_even(uneven, "auto")
        found = find_pass_field(torch.from_numpy(passes.data), bright_head(passes), even.in_plane_mm, spacing_mm)
        evened = balance_slices(uneven, "auto")
        left = np.log(np.maximum(evened.data, 1e-6) / np.maximum(clean, 1e-6)) * signs_of(clean.shape[-1]).numpy()
        left = left - left[head].mean() if strength else left
        rows.append(
            {
                "scan": image_stem(path),
                "thickness_mm": thickness_mm,
                "spacing_mm": spacing_mm,
                "strength": strength,
                "evidence": found.evidence if found else float("nan"),
                "before": float(np.sqrt((logs[head] ** 2).mean())),
                "after": float(np.sqrt((left[head] ** 2).mean())),
                "psnr_before": score(uneven),
                "psnr_after": score(evened),
            }
        )
    return rows


if __name__ == "__main__":
    main()
