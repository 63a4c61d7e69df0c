"""Is the lesion still there? ``python scripts/lesion_contrast.py SCAN RESULT [options]``.

Lesions are taken from the scan itself: connected voxels brighter than ``--above`` times the median of the head, well
inside it and of at least 0.3 ml (hyperintense on FLAIR, T2w or with contrast agent), or with ``--below`` darker than
that (on T1w; fluid as well). Each one's contrast, its mean over that of a shell 3-9 mm around it, is printed in the
scan and, at the same places in world coordinates, in the result. In the CSV its lines take the place of those found
in the same scan in the same way.
"""

from __future__ import annotations

import argparse
import csv
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from scipy import ndimage

from focvs.config import EvaluateConfig
from focvs.evaluation.lesions import find_lesions, neighbourhoods
from focvs.files import write_csv
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.nifti import read_nifti
from focvs.scan.units import white_level

SMALLEST_ML, MOST = 0.3, 8
COLUMNS = ("scan", "lesions", "volume_ml", "contrast_scan", "contrast_result")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("result", type=Path)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--above", type=float, default=1.5)
    which.add_argument("--below", type=float, help="dark lesions instead, below so many times the median")
    parser.add_argument("--inside", type=float, default=EvaluateConfig.lesions_inside, help="mm from the outside")
    parser.add_argument("--csv", type=Path, help="file that keeps the lines of several scans")
    options = parser.parse_args()
    data, affine, _, _ = read_nifti(options.scan)
    result, result_affine, _, _ = read_nifti(options.result)
    voxel_mm = nib.affines.voxel_sizes(affine)
    head = head_mask(data, white_level(data))
    if options.below is None:
        lesions = find_lesions(data, head, voxel_mm, options.above, options.inside)
    else:  # as bright as they are dark, about the median
        median = np.median(data[head])
        lesions = find_lesions(2 * median - data, head, voxel_mm, 2 - options.below, options.inside)
    found = {"scan": image_stem(options.scan), "lesions": f"above {options.above:g}"}
    if options.below is not None:
        found["lesions"] = f"below {options.below:g}"
    rows: list[dict[str, str]] = []
    print(f"{'ml':>7s} {'contrast in the scan':>21s} {'in the result':>14s}")
    for box, lesion, shell, volume_ml in itertools.islice(neighbourhoods(lesions, head, voxel_mm, SMALLEST_ML), MOST):
        before = data[box][lesion].mean() / data[box][shell].mean()
        placed = affine @ from_corner(box)
        after = (
            sample(result, result_affine, lesion, placed).mean() / sample(result, result_affine, shell, placed).mean()
        )
        print(f"{volume_ml:7.2f} {before:21.3f} {after:14.3f}")
        numbers = (f"{volume_ml:.2f}", f"{before:.3f}", f"{after:.3f}")
        rows.append(found | dict(zip(COLUMNS[2:], numbers, strict=True)))
    if options.csv:
        kept = []
        if options.csv.is_file():
            with options.csv.open(newline="") as stream:
                kept = [row for row in csv.DictReader(stream) if {k: row[k] for k in found} != found]
        write_csv(options.csv, [*kept, *rows], COLUMNS)


def from_corner(box: tuple[slice, ...]) -> np.ndarray:
    """Indices in a box to indices in the array."""
    shift = np.eye(4)
    shift[:3, 3] = [b.start for b in box]
    return shift


def sample(volume: np.ndarray, affine: np.ndarray, mask: np.ndarray, mask_affine: np.ndarray) -> np.ndarray:
    """Values of ``volume`` at the voxel centres of ``mask``, trilinear."""
    points = apply_affine(np.linalg.inv(affine) @ mask_affine, np.argwhere(mask))
    return ndimage.map_coordinates(volume, points.T, order=1, mode="nearest")


if __name__ == "__main__":
    main()
