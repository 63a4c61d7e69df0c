"""How well the noise of a scan is found: ``python scripts/benchmark_noise.py TRUTH [TRUTH ...] [--slices 4:4]``.

Each thin-slice volume is degraded into a scan, Gaussian or Rician noise of a known fraction of the 99.5th percentile is
added, and the noise estimated from the slices as they are (a run takes zero filling out first). Estimates are printed
over the noise that is there: what was added and, in quadrature, what the estimate finds before any is added,
which no one knows better of a real head.

    python scripts/benchmark_noise.py $FOCVS_DATA/train/isotropic/*.nii.gz
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from focvs.acquisition.noise import estimate_noise
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.volume import head_mask, intensity_scale, read_nifti

LEVELS = (0.005, 0.01, 0.02, 0.03, 0.05)
REACH = 0.15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--slices", default="4:4", help="thickness:spacing in mm")
    options = parser.parse_args()
    thickness, spacing = map(float, options.slices.split(":"))
    print(f"{'truth':18s} {'kind':9s} {'own':>7s} " + " ".join(f"{100 * level:>5.1f} %" for level in LEVELS))
    ratios = []
    for path in options.truth:
        data, affine, _, _ = read_nifti(path)
        axis = next(i for i, code in enumerate(nib.aff2axcodes(affine)) if code in "SI")
        voxel_mm = float(np.linalg.norm(affine[:3, axis]))
        clean = simulate_slices(np.moveaxis(data, axis, -1), voxel_mm, gaussian_profile(thickness), spacing)
        clean /= intensity_scale(clean)
        own = found(clean)
        rng = np.random.default_rng(0)
        for kind in ("Gaussian", "Rician"):
            row = []
            for level in LEVELS:
                noisy = clean + level * rng.standard_normal(clean.shape, np.float32)
                if kind == "Rician":
                    noisy = np.hypot(noisy, level * rng.standard_normal(clean.shape, np.float32))
                row.append(found(noisy) / np.hypot(level, own))
            ratios += row
            stem = path.name.split(".")[0]
            print(f"{stem:18s} {kind:9s} {100 * own:5.2f} % " + " ".join(f"{r:7.2f}" for r in row), flush=True)
    worst = np.abs(np.array(ratios) - 1)
    print(f"{(worst <= REACH).sum()} of {len(ratios)} within {100 * REACH:.0f} %, worst {100 * worst.max():.0f} %")


def found(scan: np.ndarray) -> float:
    return estimate_noise(torch.from_numpy(scan), torch.from_numpy(head_mask(scan, intensity_scale(scan))))


if __name__ == "__main__":
    main()
