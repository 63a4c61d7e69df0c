"""Is the lesion still there? ``python scripts/lesion_contrast.py SCAN RESULT [--above 1.5]``.

Lesions are taken from the scan itself: connected voxels brighter than ``--above`` times the median of the head, well
inside it and of at least 0.3 ml (hyperintense on FLAIR, T2w or with contrast agent). Each one's contrast, its mean over
that of a shell 3-9 mm around it, is printed in the scan and, at the same places in world coordinates, in the result.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.affines import apply_affine
from scipy import ndimage

from focvs.volume import head_mask, intensity_scale, read_nifti

SMALLEST_ML = 0.3
INSIDE_MM = 18.0  # lesions lie this far from the outside of the head: scalp is bright too


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("result", type=Path)
    parser.add_argument("--above", type=float, default=1.5)
    options = parser.parse_args()
    data, affine, _, _ = read_nifti(options.scan)
    result, result_affine, _, _ = read_nifti(options.result)
    voxel_mm = nib.affines.voxel_sizes(affine)
    head = ndimage.binary_fill_holes(head_mask(data, intensity_scale(data)))
    padded = np.pad(head, 1)
    depth = ndimage.distance_transform_edt(padded, sampling=voxel_mm)[1:-1, 1:-1, 1:-1]
    bright = (data > options.above * np.median(data[head])) & (depth > INSIDE_MM)
    bright = ndimage.binary_opening(bright, np.ones((3, 3, 1)))
    labels, count = ndimage.label(bright)
    volume_ml = np.bincount(labels.ravel(), minlength=count + 1) * voxel_mm.prod() / 1000
    print(f"{'lesion':>6s} {'ml':>7s} {'contrast in the scan':>21s} {'in the result':>14s}")
    for label in np.argsort(-volume_ml[1:])[:8] + 1:
        if volume_ml[label] < SMALLEST_ML:
            break
        lesion = labels == label
        distance = ndimage.distance_transform_edt(~lesion, sampling=voxel_mm)
        shell = (distance > 3) & (distance < 9) & ~bright & head
        before = data[lesion].mean() / data[shell].mean()
        after = (
            sample(result, result_affine, lesion, affine).mean() / sample(result, result_affine, shell, affine).mean()
        )
        print(f"{label:6d} {volume_ml[label]:7.2f} {before:21.3f} {after:14.3f}")


def sample(volume: np.ndarray, affine: np.ndarray, mask: np.ndarray, mask_affine: np.ndarray) -> np.ndarray:
    """Values of ``volume`` at the voxel centres of ``mask``, trilinear."""
    points = apply_affine(np.linalg.inv(affine) @ mask_affine, np.argwhere(mask))
    return ndimage.map_coordinates(volume, points.T, order=1, mode="nearest")


if __name__ == "__main__":
    main()
