"""Images of random contrast synthesised from label maps (after SynthSeg, Billot et al. 2023)."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

# FreeSurfer ids whose left and right versions must share an intensity, and tissue families that usually do.
_LEFT_OF_RIGHT = {
    41: 2, 42: 3, 43: 4, 44: 5, 46: 7, 47: 8, 49: 10, 50: 11, 51: 12, 52: 13, 53: 17, 54: 18, 58: 26,
    60: 28, 62: 30, 63: 31,
}  # fmt: skip
_FLUID = {4, 5, 14, 15, 24, 43, 44, 72}
_WHITE = {2, 7, 16, 28, 41, 46, 60}
_GREY = {3, 8, 17, 18, 42, 47, 53, 54}


def label_family(label: int) -> int:
    """The label whose intensity distribution ``label`` shares."""
    label = _LEFT_OF_RIGHT.get(label, label)
    for family in (_FLUID, _WHITE, _GREY):
        if label in family:
            return min(family)
    return label


def random_contrast(families: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Mean and within-label standard deviation of each label, in 0-1 intensity.

    Args:
        families: ``(labels,)`` family of each label index; family 0 is air.
        rng: source of randomness.

    Returns:
        ``(mean, std)``, each ``(labels,)``; labels of one family differ by a few per cent.
    """
    unique = np.unique(families)
    position = np.searchsorted(unique, families)
    mean = rng.uniform(0.03, 1.0, unique.size)[position] + rng.normal(0, 0.02, families.size)
    std = rng.uniform(0.0, 0.06, unique.size)[position]
    air = families == 0
    mean[air] = 0.0 if rng.random() < 0.7 else rng.uniform(0, 0.05)
    std[air] = 0.0
    return np.clip(mean, 0, 1), std


def synthesise(labels: np.ndarray, families: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Paint a label patch with a random contrast and within-tissue texture.

    Args:
        labels: ``(h, w)`` label indices, usually on a grid twice as fine as the wanted image, so that the
            average over 2 x 2 gives partial volume.
        families: ``(labels,)`` from :func:`label_family`.
        rng: source of randomness.

    Returns:
        ``(h, w)`` float32 intensities, about 0-1.
    """
    mean, std = random_contrast(families, rng)
    texture = rng.standard_normal(labels.shape, dtype=np.float32)
    smooth = rng.uniform(0.5, 3.0)
    texture = ndimage.gaussian_filter(texture, smooth)
    texture /= texture.std() + 1e-6
    image = mean.astype(np.float32)[labels] + std.astype(np.float32)[labels] * texture
    return np.clip(image, 0, None)


def bias_field(shape: tuple[int, int], strength: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth positive field, exp of a random 4 x 4 grid with standard deviation ``strength``."""
    coarse = rng.normal(0, strength, (4, 4)).astype(np.float32)
    zoom = (shape[0] / 4, shape[1] / 4)
    return np.exp(ndimage.zoom(coarse, zoom, order=3, grid_mode=True, mode="nearest"))
