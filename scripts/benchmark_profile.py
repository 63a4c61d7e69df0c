"""How well the slice thickness is estimated: ``python scripts/benchmark_profile.py TRUTH [TRUTH ...]``.

Each thin-slice volume is degraded along its superior-inferior axis by known profiles, and the width of the profile is
estimated, once knowing its shape and once taking it for a Gaussian. The last lines give the median absolute error and
how often the 95 % interval holds the truth; volumes whose scan does not tell count as not answered.

    python scripts/benchmark_profile.py $FOCVS_DATA/eval/isotropic/*.nii.gz $FOCVS_DATA/train/isotropic/*.nii.gz
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from focvs.acquisition.estimation import ANISOTROPY, estimate_profile
from focvs.acquisition.profile import make_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.volume import head_mask, intensity_scale, read_nifti

WIDTHS = {  # FWHM and spacing in mm, by shape
    "gaussian": ((2, 2), (3, 3), (3, 4), (4, 4), (4, 5.2), (6, 6), (6, 7.8), (8, 8)),
    "rect": ((3, 3), (5, 5), (5, 6.5)),
    "slr": ((4, 4), (4, 5.2)),
}
AXIS = ANISOTROPY["inferior-superior"]
CASES = [(shape, *width) for shape, widths in WIDTHS.items() for width in widths]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--noise", type=float, default=0.01, help="of the scan, fraction of the 99.5th percentile")
    options = parser.parse_args()
    scores: dict[str, list[tuple[float, bool]]] = {"shape known": [], "taken for a Gaussian": []}
    unanswered = dict.fromkeys(scores, 0)
    print(f"{'truth':16s} {'shape':9s} {'FWHM':>5s} {'every':>5s}  {'shape known':24s} {'taken for a Gaussian':24s}")
    for path in options.truth:
        data, affine, _, _ = read_nifti(path)
        axis = next(i for i, c in enumerate(nib.aff2axcodes(affine)) if c in "SI")
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        voxels = [*np.delete(sizes, axis), sizes[axis]]
        data = np.moveaxis(data, axis, -1)
        scale = intensity_scale(data)
        for shape, fwhm_mm, spacing_mm in CASES:
            slices = simulate_slices(data / scale, voxels[2], make_profile(shape, fwhm_mm), spacing_mm)
            noise = np.random.default_rng(0).normal(0, options.noise, slices.shape)
            y, mask = torch.from_numpy(slices + noise.astype(np.float32)), torch.from_numpy(head_mask(slices, 1.0))
            cells = []
            for name, kind in (("shape known", shape), ("taken for a Gaussian", "gaussian")):
                try:
                    found = estimate_profile(
                        y, mask, (voxels[0], voxels[1]), spacing_mm, partial(make_profile, kind), AXIS
                    )
                except ValueError as error:
                    unanswered[name] += 1
                    cells.append(str(error)[:24])
                    continue
                low, high = found.low_mm, found.high_mm
                inside = low <= fwhm_mm <= high
                scores[name].append((abs(found.profile.fwhm_mm / fwhm_mm - 1), inside))
                cells.append(f"{found.profile.fwhm_mm:5.2f} [{low:5.2f}, {high:5.2f}]{' ' if inside else '!'}")
            print(
                f"{path.name.split('.')[0]:16s} {shape:9s} {fwhm_mm:5g} {spacing_mm:5g}  {cells[0]:24s} {cells[1]:24s}",
                flush=True,
            )
    for name, found in scores.items():
        errors, inside = zip(*found, strict=True)
        median, held = 100 * np.median(errors), 100 * np.mean(inside)
        print(
            f"{name}: median error {median:.1f} %, interval holds {held:.0f} % of {len(found)}, "
            f"{unanswered[name]} not answered"
        )


if __name__ == "__main__":
    main()
