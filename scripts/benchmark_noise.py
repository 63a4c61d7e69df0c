"""How well the noise of a scan is found: ``python scripts/benchmark_noise.py TRUTH [TRUTH ...] [--slices 4:4]``.

Each thin-slice volume is degraded into a scan, Gaussian or Rician noise of a known fraction of the 99.5th percentile is
added, and the noise estimated from the slices as they are (a run takes zero filling out first), inside the head and,
where the background was kept or was zero before, from the air around it. Estimates are printed over the noise that is
there: what was added and, in quadrature, what the estimate finds before any is added, which no one knows
better of a real head; air that was set to zero has none of its own.

    python scripts/benchmark_noise.py $FOCVS_DATA/train/isotropic/*.nii.gz
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.files import write_csv
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.nifti import read_nifti
from focvs.scan.noise import background_noise, estimate_noise, find_air
from focvs.scan.units import white_level

COLUMNS = ("truth", "where", "kind", "level", "ratio")
LEVELS = (0.005, 0.01, 0.02, 0.03, 0.05)
REACH = 0.15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--slices", default="4:4", help="thickness:spacing in mm")
    parser.add_argument("--csv", type=Path, help="file of a row for each volume, place, kind and level")
    options = parser.parse_args()
    thickness, spacing = map(float, options.slices.split(":"))
    levels = " ".join(f"{100 * level:>5.1f} %" for level in LEVELS)
    print(f"{'truth':18s} {'where':5s} {'kind':9s} {'own':>7s} {levels}")
    rows: list[dict[str, Any]] = []
    for path in options.truth:
        data, affine, _, _ = read_nifti(path)
        axis = next(i for i, code in enumerate(nib.aff2axcodes(affine)) if code in "SI")
        voxel_mm = float(np.linalg.norm(affine[:3, axis]))
        clean = simulate_slices(np.moveaxis(data, axis, -1), voxel_mm, gaussian_profile(thickness), spacing)
        clean /= white_level(clean)
        zeroed = not clean[find_air(head_mask(clean, white_level(clean)))].any()
        for where, estimate in (("head", of_head), ("air", of_air)):
            own = 0.0 if where == "air" and zeroed else estimate(clean)
            if own is None:
                continue
            rng = np.random.default_rng(0)
            for kind in ("Gaussian", "Rician"):
                found = []
                for level in LEVELS:
                    noisy = clean + level * rng.standard_normal(clean.shape, np.float32)
                    if kind == "Rician":
                        noisy = np.hypot(noisy, level * rng.standard_normal(clean.shape, np.float32))
                    estimated = estimate(noisy)
                    found.append(np.nan if estimated is None else estimated / np.hypot(level, own))
                    rows.append(dict(zip(COLUMNS, (image_stem(path), where, kind, level, found[-1]), strict=True)))
                print(
                    f"{image_stem(path):18s} {where:5s} {kind:9s} {100 * own:5.2f} % "
                    + " ".join("      -" if np.isnan(r) else f"{r:7.2f}" for r in found),
                    flush=True,
                )
    for where in ("head", "air"):
        within, answered, asked, worst = summarise([row for row in rows if row["where"] == where])
        print(
            f"{where}: {within} of {answered} within {100 * REACH:.0f} %, worst {100 * worst:.0f} %; "
            f"{asked - answered} without an answer"
        )
    if options.csv:
        write_csv(options.csv, rows, COLUMNS)


def summarise(rows: Sequence[Mapping[str, Any]]) -> tuple[int, int, int, float]:
    """How many are within :data:`REACH`, were answered, were asked, and the largest relative error."""
    ratios = np.array([float(row["ratio"]) for row in rows])
    errors = np.abs(ratios[~np.isnan(ratios)] - 1)
    return int((errors <= REACH).sum()), len(errors), len(ratios), float(errors.max(initial=0.0))


def of_head(scan: np.ndarray) -> float:
    return estimate_noise(torch.from_numpy(scan), torch.from_numpy(head_mask(scan, white_level(scan))))


def of_air(scan: np.ndarray) -> float | None:
    return background_noise(torch.from_numpy(scan), torch.from_numpy(find_air(head_mask(scan, white_level(scan)))))


if __name__ == "__main__":
    main()
