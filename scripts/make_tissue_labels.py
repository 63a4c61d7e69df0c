"""Make focvs/acquisition/tissue_labels.npz, the label map of the generated head, from the ICBM 152 average brain.

python scripts/make_tissue_labels.py FOLDER

FOLDER holds mni_icbm152_{t1,gm,wm}_tal_nlin_sym_09a_converted.nii.gz, as nilearn (BSD-3-Clause) ships them in
nilearn/datasets/data. Their brain is an average of 152 people; skull, marrow, fat and skin are drawn around it here, so
that the head is nobody's.
"""

from __future__ import annotations

import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from focvs.acquisition.tissue_head import LABELS_FILE, TISSUES

ROOT_MM = (-98.0, -134.0, -72.0)  # of the template's first voxel
LABEL = {tissue.name: number for number, tissue in enumerate(TISSUES, start=1)}
# outer distance of each shell from the brain's hull in mm, from the inside
SHELLS = (
    ("cerebrospinal fluid", 2.2),
    ("cortical bone", 4.0),
    ("marrow", 6.6),
    ("cortical bone", 8.4),
    ("muscle and skin", 9.4),
    ("fat", 12.6),
    ("muscle and skin", 14.2),
)
# where the deep nuclei lie, in mm of the template: left-right (both sides), back-front, feet-head
DEEP_MM = ((6.0, 36.0), (-32.0, 24.0), (-12.0, 18.0))


def label_map(t1: np.ndarray, grey: np.ndarray, white: np.ndarray) -> np.ndarray:
    """Labels of a head around an average brain.

    Args:
        t1: ``(i, j, k)`` average T1w brain at 1 mm, zero outside.
        grey, white: probabilities of grey and white matter, 0-1.
    """
    brain = t1 > 0
    # an average blurs the furrows: what is darker than its neighbourhood is taken for fluid
    share = ndimage.gaussian_filter(brain.astype(np.float32), 4).clip(1e-3)
    darker = (ndimage.gaussian_filter(t1, 4) / share - t1).clip(0) * (grey > 0.25)
    fluid = (1 - grey - white).clip(0) + 2.2 * darker
    tissue = np.array([LABEL[n] for n in ("cerebrospinal fluid", "grey matter", "white matter")], np.uint8)
    inside = tissue[np.argmax(np.stack([fluid, grey, white]), axis=0)]
    axes = [np.arange(n) + first for n, first in zip(t1.shape, ROOT_MM, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)
    deep = inside == LABEL["grey matter"]
    for place, (low, high) in zip((np.abs(x), y, z), DEEP_MM, strict=True):
        deep = deep & (place > low) & (place < high)
    hull = _hull(brain)
    depth = ndimage.distance_transform_edt(hull)
    inside[deep & (depth > 22)] = LABEL["deep grey matter"]

    distance = ndimage.gaussian_filter(ndimage.distance_transform_edt(~hull), 2.0)
    wobble = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(t1.shape), 7)
    distance = distance / (1 + 0.10 * wobble / wobble.std())
    labels = np.zeros(t1.shape, np.uint8)
    for name, outer in reversed(SHELLS):
        labels[distance < outer] = LABEL[name]
    labels[hull] = LABEL["cerebrospinal fluid"]
    return np.where(brain, inside, labels).astype(np.uint8)


def _hull(brain: np.ndarray) -> np.ndarray:
    """The brain with its furrows closed."""
    wide = ndimage.binary_closing(np.pad(brain, 20), ndimage.generate_binary_structure(3, 1), iterations=12)
    return wide[20:-20, 20:-20, 20:-20]


def main(folder: str) -> None:
    names = (f"mni_icbm152_{part}_tal_nlin_sym_09a_converted.nii.gz" for part in ("t1", "gm", "wm"))
    labels = label_map(*(np.asarray(nib.load(Path(folder) / n).dataobj).astype(np.float32) / 255 for n in names))
    inside = [slice(int(i.min()), int(i.max()) + 1) for i in np.nonzero(labels)]
    np.savez_compressed(LABELS_FILE, labels=labels[tuple(inside)])


if __name__ == "__main__":
    main(sys.argv[1])
