"""Are the lesions still there? Contrast, volume, what was erased and what was invented, by lesion size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

THICK_RATIO = 1.5  # times the smallest voxel size, from where the largest is that of slices
SHELL_MM = (3.0, 9.0)  # what a lesion is compared with lies this far from it
SMALLEST_ML = 0.03  # smaller components are left out
SIZES_ML = {"below 0.1 ml": (0.0, 0.1), "0.1 to 1 ml": (0.1, 1.0), "above 1 ml": (1.0, np.inf)}


@dataclass(frozen=True)
class Lesion:
    """One lesion in an estimate.

    Attributes:
        volume_ml: of the mask.
        contrast: mean of the truth in the lesion over its mean in the shell around it.
        contrast_kept: the estimate's contrast minus 1, over the truth's: 1 is all of it, 0 none.
        volume_kept: voxels beyond half the truth's contrast in lesion and shell, over those of the truth.
        erased: part of the truth's lesion that is not beyond half the contrast in the estimate.
        invented: voxels of the shell that are beyond it in the estimate only, over the truth's.
    """

    volume_ml: float
    contrast: float
    contrast_kept: float
    volume_kept: float
    erased: float
    invented: float


def find_lesions(
    volume: np.ndarray, head: np.ndarray, voxel_mm: np.ndarray, above: float, inside_mm: float
) -> np.ndarray:
    """Bright voxels well inside the head, boolean: hyperintense lesions.

    They are opened by a voxel and its six neighbours, or in thick slices by 3 x 3 pixels.

    Args:
        volume: ``(a, b, c)`` intensities.
        head: boolean mask.
        voxel_mm: ``(3,)`` voxel sizes.
        above: from how many times the median of the head voxels are bright.
        inside_mm: how far lesions are from the outside of the head, whose scalp, or cortex, is bright too.
    """
    depth = ndimage.distance_transform_edt(np.pad(ndimage.binary_fill_holes(head), 1), sampling=voxel_mm)
    bright = (volume > above * np.median(volume[head])) & (depth[1:-1, 1:-1, 1:-1] > inside_mm)
    element = ndimage.generate_binary_structure(3, 1)
    if voxel_mm.max() > THICK_RATIO * voxel_mm.min():
        element = np.ones((3, 3, 3), dtype=bool).take([1], axis=int(np.argmax(voxel_mm)))
    opened: np.ndarray = ndimage.binary_opening(bright, element)
    return opened


def neighbourhoods(
    lesions: np.ndarray, head: np.ndarray, voxel_mm: np.ndarray, smallest_ml: float = SMALLEST_ML
) -> Iterator[tuple[tuple[slice, ...], np.ndarray, np.ndarray, float]]:
    """Each lesion of a boolean mask, the largest first: a box, lesion and shell in it, and its volume in ml.

    Shells lie in the head and hold no other lesion; lesions without a shell are left out.
    """
    labels, _ = ndimage.label(lesions)
    boxes = ndimage.find_objects(labels)
    volumes_ml = np.bincount(labels.ravel())[1:] * float(np.prod(voxel_mm)) / 1000
    for index in np.argsort(-volumes_ml, kind="stable"):
        if volumes_ml[index] < smallest_ml:
            return
        reach = np.ceil(SHELL_MM[1] / np.asarray(voxel_mm)).astype(int) + 1
        box = tuple(
            slice(max(0, b.start - r), min(n, b.stop + r))
            for b, r, n in zip(boxes[index], reach, lesions.shape, strict=True)
        )
        lesion = labels[box] == index + 1
        distance = ndimage.distance_transform_edt(~lesion, sampling=voxel_mm)
        shell = (distance > SHELL_MM[0]) & (distance < SHELL_MM[1]) & ~lesions[box] & head[box]
        if shell.any():
            yield box, lesion, shell, float(volumes_ml[index])


def compare_lesions(
    truth: np.ndarray, estimate: np.ndarray, lesions: np.ndarray, head: np.ndarray, voxel_mm: np.ndarray
) -> list[Lesion]:
    """Every lesion of a mask in an estimate, the largest first; bright or dark ones alike, not those without contrast.

    Args:
        truth: ``(a, b, c)`` intensities.
        estimate: the same grid.
        lesions: boolean mask.
        head: boolean mask.
        voxel_mm: ``(3,)`` voxel sizes.
    """
    found = []
    for box, lesion, shell, volume_ml in neighbourhoods(lesions, head, voxel_mm):
        true, other = truth[box].astype(np.float64), estimate[box].astype(np.float64)
        inside, around = true[lesion].mean(), true[shell].mean()
        if inside == around or not around or not other[shell].mean():
            continue  # a lesion without contrast has none to keep
        contrast, kept = inside / around, other[lesion].mean() / other[shell].mean()
        sign, half = np.sign(inside - around), (inside + around) / 2
        was, is_now = (sign * (image - half) > 0 for image in (true, other))
        before = max(1, int((was & (lesion | shell)).sum()))
        found.append(
            Lesion(
                volume_ml,
                float(contrast),
                float((kept - 1) / (contrast - 1)),
                float((is_now & (lesion | shell)).sum() / before),
                float((was & ~is_now & lesion).sum() / max(1, int((was & lesion).sum()))),
                float((is_now & ~was & shell).sum() / before),
            )
        )
    return found


def by_size(lesions: list[Lesion]) -> dict[str, dict[str, float]]:
    """Number of lesions and medians of their figures, for each size that occurs."""
    out = {}
    for name, (low, high) in SIZES_ML.items():
        some = [lesion for lesion in lesions if low <= lesion.volume_ml < high]
        if some:
            keys = ("contrast", "contrast_kept", "volume_kept", "erased", "invented")
            medians = {key: float(np.median([getattr(lesion, key) for lesion in some])) for key in keys}
            out[name] = {"lesions": float(len(some))} | medians
    return out
