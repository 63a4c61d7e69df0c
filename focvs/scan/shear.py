"""Stacks that lean against the normal of their slices: sheared headers, tilted gantries."""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage

from focvs.acquisition.grid import plane_distance_mm
from focvs.errors import InputError

MOST_LEAN_DEG = 1.0  # of a stack that is taken for straight
MOST_STRAIGHTENED_DEG = 45.0
MOST_SKEW_DEG = 0.5  # of the angle between rows and columns against a right one, above which it is said
ORDER = 3  # of the splines that slices are shifted by


def lean_deg(affine: np.ndarray) -> float:
    """Angle between the step of the last axis and the normal of the first two, degrees."""
    cosine = plane_distance_mm(affine) / float(np.linalg.norm(affine[:3, 2]))
    return math.degrees(math.acos(min(1.0, cosine)))


def skew_deg(affine: np.ndarray) -> float:
    """By how much the angle between the first two axes differs from a right one, degrees."""
    first, second = (affine[:3, axis] / np.linalg.norm(affine[:3, axis]) for axis in (0, 1))
    return math.degrees(math.asin(min(1.0, abs(float(first @ second)))))


def straighten(data: np.ndarray, affine: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """A stack whose slices lie at right angles to it: each is shifted within its own plane, by cubic splines.

    With in-plane axes a, b, unit normal n and step s from slice to slice, s = (s n) n + u [a b]: slice k of m is
    shifted by (k - (m - 1) / 2) u pixels, and the step is (s n) n. The middle of the stack stays where it is, and
    pixels are added all around so that nothing is shifted out of the image.

    Args:
        data: ``(p, q, slices)``.
        affine: ``(4, 4)`` voxel-to-world, mm.
        name: of the scan, for messages.

    Returns:
        Data, affine, and what was done, a sentence; all of them as they were, and none, for a stack that leans by a
        degree or less.

    Raises:
        InputError: for a stack that leans by more than 45 degrees, or whose slices do not lie above each other.
    """
    lean = lean_deg(affine)
    if lean <= MOST_LEAN_DEG:
        return data, affine, []
    if lean > MOST_STRAIGHTENED_DEG:
        raise InputError(
            f"{name} is sheared: its stack leans by {lean:.1f} degrees against the normal of its slices, which are "
            f"{plane_distance_mm(affine):.4g} mm apart; check its header, or resample it to a straight stack first."
        )
    steps = affine[:3, :3].astype(float)
    normal = np.cross(steps[:, 0], steps[:, 1])
    normal /= np.linalg.norm(normal)
    step = (steps[:, 2] @ normal) * normal
    drift, *_ = np.linalg.lstsq(steps[:, :2], steps[:, 2] - step, rcond=None)  # pixels a slice
    places = np.arange(data.shape[2]) - (data.shape[2] - 1) / 2
    low = float(data.min())
    pad = [math.ceil(abs(u) * places[-1] - 1e-6) for u in drift]
    if any(margin > n for margin, n in zip(pad, data.shape, strict=False)):
        raise InputError(
            f"{name} is sheared: its stack leans by {lean:.1f} degrees, so that its first and last slices lie beside "
            "each other; check its header."
        )
    padded = np.pad(data, [(pad[0], pad[0]), (pad[1], pad[1]), (0, 0)], constant_values=low)
    shifted = np.empty_like(padded)
    for k, place in enumerate(places):
        ndimage.shift(padded[..., k], place * drift, shifted[..., k], order=ORDER, mode="grid-constant", cval=low)
    np.clip(shifted, low, data.max(), out=shifted)
    kept = [_kept(shifted != low, axis, margin) for axis, margin in enumerate(pad)]
    straight = affine.astype(float)
    straight[:3, 2] = step
    origin = np.array([kept[0].start - pad[0], kept[1].start - pad[1]])
    straight[:3, 3] += places[-1] * (steps[:, 2] - step) + steps[:, :2] @ origin
    moved_mm = float(np.linalg.norm(steps[:, :2] @ drift)) * places[-1]
    said = (
        f"its stack leans by {lean:.1f} degrees against the normal of its slices (shear, or a tilted gantry): each "
        f"slice was shifted within its plane, by up to {moved_mm:.3g} mm, and these "
        "shifted slices are what the result reproduces; viewers that ignore shear show the scan itself distorted."
    )
    return np.ascontiguousarray(shifted[kept[0], kept[1]]), straight, [said]


def _kept(image: np.ndarray, axis: int, margin: int) -> slice:
    """An axis without those of its added margins that show nothing."""
    length = image.shape[axis]
    shown = np.flatnonzero(image.any(axis=tuple(a for a in range(image.ndim) if a != axis)))
    first, last = (int(shown[0]), int(shown[-1])) if len(shown) else (margin, length - margin - 1)
    return slice(min(first, margin), max(last + 1, length - margin))
