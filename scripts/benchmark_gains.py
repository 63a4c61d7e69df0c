"""How well the brightness of slices is balanced: ``python scripts/benchmark_gains.py TRUTH [TRUTH ...] [--csv FILE]``.

Each thin-slice volume is degraded into a scan with 1 % noise, its slices are made brighter and darker: not at all, each
at random, every second one, every second one by more in the middle of the scan, every third or fourth; and balanced as
``slice_gains=auto`` does. A line for every acquisition and kind: in how many scans passes and slices were balanced, the
spread of slices around what the others say where nothing was done (what ANATOMY_PER_MM in
focvs/acquisition/slice_gains.py stands for), and how far neighbouring slices differ in brightness that is not theirs,
before and after: the root mean square of the logarithms less their own smooth course, of the slices that show head but
three at both ends, the median over scans.

    python scripts/benchmark_gains.py $FOCVS_DATA/train/isotropic*/*.nii.gz
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import convolve1d

from focvs.acquisition.grid import plane_distance_mm
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.files import write_csv
from focvs.scan.brightness import balance_odd_even, balance_slices, bright_head
from focvs.scan.formats import image_stem
from focvs.scan.interleaving import FEWEST_PIXELS
from focvs.scan.nifti import axis_along, axis_last, read_nifti
from focvs.scan.scan import Scan
from focvs.scan.slice_gains import slice_gains
from focvs.scan.units import white_level

SLICES = ("3:3", "4:4", "5:6.5", "8:8")
ENDS = 3
SMOOTH = np.array([1, 4, 6, 4, 1]) / 16
COLUMNS = ("truth", "thickness_mm", "spacing_mm", "kind", "spread", "anatomy", "passes", "slices", "before", "after")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--slices", nargs="+", default=list(SLICES), help="thickness:spacing in mm")
    parser.add_argument("--csv", type=Path, help="file of a row for each volume, acquisition and kind")
    options = parser.parse_args()
    rows = [
        row
        for path in options.truth
        for words in options.slices
        for row in balance(path, *map(float, words.split(":")))
    ]
    print(f"{'slices mm':9s} {'kind':18s} {'scans':>5s} {'passes':>6s} {'slices':>6s} {'spread':>7s}  before   after")
    for (thickness, spacing, kind), found in summarise(rows).items():
        print(
            f"{f'{thickness:g}:{spacing:g}':9s} {kind:18s} {found['scans']:5d} {found['passes']:6d} "
            f"{found['slices']:6d} {100 * found['spread']:5.2f} % {100 * found['before']:5.2f} % "
            f"{100 * found['after']:5.2f} %  spread at most {found['most']:.2f} times what anatomy is taken to make it"
        )
    if options.csv:
        write_csv(options.csv, rows, list(COLUMNS))


def balance(path: Path, thickness_mm: float, spacing_mm: float) -> list[dict[str, Any]]:
    """A row for each kind of gains."""
    data, affine, header, _ = read_nifti(path)
    axis = axis_along(affine, "inferior-superior")
    data, affine = axis_last(data, affine, axis)
    voxel_mm = plane_distance_mm(affine)
    clean = simulate_slices(data, voxel_mm, gaussian_profile(thickness_mm), spacing_mm)
    rng = np.random.default_rng(0)
    clean = clean + 0.01 * white_level(clean) * rng.standard_normal(clean.shape, np.float32)
    scan = Scan(path, clean, affine @ np.diag([1.0, 1.0, spacing_mm / voxel_mm, 1.0]), header, axis)
    m = clean.shape[-1]
    alternating, middle = 2 * (np.arange(m) % 2) - 1, np.sin(np.pi * (np.arange(m) + 0.5) / m)
    kinds = {
        "none": np.zeros(m),
        "2 % each": 0.02 * rng.standard_normal(m),
        "5 % each": 0.05 * rng.standard_normal(m),
        "5 % passes": 0.025 * alternating,
        "8 % passes, middle": 0.04 * alternating * middle,
        "8 % every third": 0.08 * (np.arange(m) % 3 == 0),
        "8 % every fourth": 0.08 * (np.arange(m) % 4 == 0),
    }
    shown = np.flatnonzero(bright_head(scan).flatten(0, 1).sum(0) >= FEWEST_PIXELS)[ENDS:-ENDS]
    rows = []
    for kind, logs in kinds.items():
        uneven = replace(scan, data=(clean * np.exp(logs)).astype(np.float32))
        balanced = balance_odd_even(uneven, "auto")
        found = slice_gains(torch.from_numpy(balanced.data), bright_head(balanced), spacing_mm)
        result = balance_slices(uneven, "auto")
        taken = np.zeros(m) if result.gains is None else np.log(result.gains)
        spread, anatomy = (found.spread, found.anatomy) if found else (np.nan, np.nan)
        done = (balanced is not uneven, found is not None and found.clear)
        row = (image_stem(path), thickness_mm, spacing_mm, kind, spread, anatomy, *done)
        rows.append(dict(zip(COLUMNS, (*row, rough(logs, shown), rough(logs - taken, shown)), strict=True)))
    return rows


def summarise(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[float, float, str], dict[str, Any]]:
    """By acquisition and kind: scans, how many were balanced, medians, and the largest spread over the anatomy."""
    cases: dict[tuple[float, float, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        cases.setdefault((float(row["thickness_mm"]), float(row["spacing_mm"]), row["kind"]), []).append(row)
    return {
        case: {
            "scans": len(some),
            **{key: sum(row[key] in (True, "True") for row in some) for key in ("passes", "slices")},
            **{key: float(np.median([float(row[key]) for row in some])) for key in ("spread", "before", "after")},
            "most": max(float(row["spread"]) / float(row["anatomy"]) for row in some),
        }
        for case, some in cases.items()
    }


def rough(logs: np.ndarray, shown: np.ndarray) -> float:
    """Root mean square of what a smooth course leaves of logarithms of gains, of the slices ``shown``."""
    return float(np.sqrt(np.mean((logs - convolve1d(logs, SMOOTH, mode="nearest"))[shown] ** 2)))


if __name__ == "__main__":
    main()
