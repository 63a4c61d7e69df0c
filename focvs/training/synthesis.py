"""Images of random contrast synthesised from label maps (after SynthSeg, Billot et al. 2023)."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy import ndimage
from scipy.interpolate import PchipInterpolator

from focvs.acquisition.simulation import rician

# FreeSurfer ids whose left and right versions must share an intensity, and tissue families that usually do.
_LEFT_OF_RIGHT = {
    41: 2, 42: 3, 43: 4, 44: 5, 46: 7, 47: 8, 49: 10, 50: 11, 51: 12, 52: 13, 53: 17, 54: 18, 58: 26,
    60: 28, 62: 30, 63: 31,
}  # fmt: skip
_FLUID = {4, 5, 14, 15, 24, 43, 44, 72}
_WHITE = {2, 7, 16, 28, 41, 46, 60}
_GREY = {3, 8, 17, 18, 42, 47, 53, 54}
NODES = 4  # of smooth random fields, an axis
_EXTRACEREBRAL = 500  # labels from here on are scalp, fat, bone, muscle, eyes ...


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
    outside = np.unique(families[families >= _EXTRACEREBRAL])
    if outside.size and rng.random() < 0.5:  # fat is often the brightest tissue, bone the darkest
        mean[families == rng.choice(outside)] = rng.uniform(0.8, 1.3)
        mean[families == rng.choice(outside)] = rng.uniform(0.0, 0.08)
    air = families == 0
    mean[air] = 0.0 if rng.random() < 0.7 else rng.uniform(0, 0.05)
    std[air] = 0.0
    return np.clip(mean, 0, None), std


def synthesise(labels: np.ndarray, families: np.ndarray, rng: np.random.Generator, depth: float = 1.0) -> np.ndarray:
    """Paint a label patch with a random contrast and within-tissue texture.

    Args:
        labels: ``(s, h, w)`` label indices of a slab or a volume, usually on a grid twice as fine as the wanted image,
            so that the average over pairs gives partial volume.
        families: ``(labels,)`` from :func:`label_family`.
        rng: source of randomness.
        depth: distance of the first axis's slices, in pixels of the others.

    Returns:
        Float32 intensities of the same shape, about 0-1.
    """
    mean, std = random_contrast(families, rng)
    texture = rng.standard_normal(labels.shape, dtype=np.float32)
    smooth = rng.uniform(0.5, 3.0)
    texture = ndimage.gaussian_filter(texture, (smooth / depth, smooth, smooth))
    texture /= texture.std() + 1e-6
    image = mean.astype(np.float32)[labels] + std.astype(np.float32)[labels] * texture
    return np.clip(image, 0, None)


def bias_field(shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth positive field, exp of a random grid of ``NODES`` nodes an axis with standard deviation ``strength``."""
    coarse = rng.normal(0, strength, (NODES,) * len(shape)).astype(np.float32)
    return np.exp(_stretch(coarse, shape))


def random_curve(rng: np.random.Generator, kind: str) -> PchipInterpolator:
    """A smooth map of intensities on 0-1.5 that keeps air at zero.

    Args:
        rng: source of randomness.
        kind: ``monotone``, ``inverted`` (dark tissue becomes bright, as from T1w to T2w) or ``free``.

    Raises:
        ValueError: for an unknown kind.
    """
    knots = np.array([0.0, 0.08, 0.25, 0.45, 0.65, 0.85, 1.05, 1.5])
    if kind == "monotone":
        rise = np.diff(knots) * np.exp(rng.normal(0, 0.7, knots.size - 1))
        values = np.append(0.0, np.cumsum(rise))
        values /= np.interp(1.0, knots, values)
    elif kind == "inverted":
        values = np.append(0.0, 1.1 - knots[1:].clip(max=1.05) + rng.normal(0, 0.05, knots.size - 1))
    elif kind == "free":
        values = np.append(0.0, rng.uniform(0.05, 1.05, knots.size - 1))
    else:
        raise ValueError(f"a curve is monotone, inverted or free, and not {kind}.")
    return PchipInterpolator(knots, values.clip(0), extrapolate=False)


def add_lesions(image: np.ndarray, rng: np.random.Generator, unit: float = 1.0, anywhere: bool = False) -> np.ndarray:
    """One to five soft blobs of odd shape and one new intensity, inside the head.

    Args:
        image: ``(s, h, w)`` slab about 0-1, its slices as far apart as ``unit`` pixels.
        rng: source of randomness.
        unit: pixels per mm, about.
        anywhere: in a block, instead of about the middle slice of a slab.
    """
    head = np.argwhere(image > 0.15)
    if not anywhere:
        head = head[head[:, 0] == len(image) // 2]
    if not len(head):
        return image
    out, level = image.copy(), rng.uniform(0.05, 1.2)
    depths, rows, columns = np.ogrid[: image.shape[0], : image.shape[1], : image.shape[2]]
    for _ in range(rng.integers(1, 6)):
        depth, row, column = head[rng.integers(len(head))]
        radius = unit * np.exp(rng.uniform(np.log(1.2), np.log(12)))
        angle, stretch = rng.uniform(0, np.pi), np.exp(rng.normal(0, 0.4))
        u = ((rows - row) * np.cos(angle) + (columns - column) * np.sin(angle)) * stretch
        v = ((columns - column) * np.cos(angle) - (rows - row) * np.sin(angle)) / stretch
        turn = np.arctan2(v, u)
        wobble = sum(rng.normal(0, 0.15) * np.cos(k * turn + rng.uniform(0, 6.3)) for k in (2, 3, 5))
        deep = unit * (depths - depth) + radius * rng.uniform(-0.7, 0.7)
        distance = np.sqrt(u**2 + v**2 + deep**2) / radius + wobble
        cover = np.clip((1 - distance) * radius / rng.uniform(0.7, 2.5), 0, 1) * rng.uniform(0.4, 1.0)
        out += cover * (level * rng.uniform(0.9, 1.1) - out) * (image > 0.08)
    return out


def add_vessels(image: np.ndarray, rng: np.random.Generator, unit: float = 1.0) -> np.ndarray:
    """One to four thin winding lines, bright or dark, inside the head.

    Args:
        image: ``(h, w)`` about 0-1.
        rng: source of randomness.
        unit: pixels per mm, about.
    """
    out, level = image.copy(), 0.0 if rng.random() < 0.4 else rng.uniform(0.7, 1.4)
    size = np.array(image.shape)
    for _ in range(rng.integers(1, 5)):
        steps = int(3 * size.max())
        heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.06, steps))
        path = rng.uniform(0, size)[:, None] + 0.5 * np.cumsum(np.stack([np.sin(heading), np.cos(heading)]), axis=1)
        inside = ((path >= 0) & (path <= size[:, None] - 1)).all(0)
        line = np.zeros(image.shape, dtype=np.float32)
        row, column = np.rint(path[:, inside]).astype(int)
        line[row, column] = 1
        width = unit * rng.uniform(0.35, 1.2)
        cover = np.clip(ndimage.gaussian_filter(line, width) * width * 2.5 * rng.uniform(0.4, 1.2), 0, 1)
        out += cover * (level - out) * (image > 0.08)
    return out


def vary_painted(image: np.ndarray, noisy: float, rng: np.random.Generator) -> np.ndarray:
    """A painted image about 0-1 with another gamma and brightness and, with the probability ``noisy``, Rician noise."""
    image = image.clip(0) ** np.exp(rng.normal(0, 0.25)) * rng.uniform(0.8, 1.1)
    return rician(image, rng.uniform(0, 0.03), rng) if rng.random() < noisy else image


def displacement(shape: tuple[int, ...], strength: float, rng: np.random.Generator) -> np.ndarray:
    """A smooth random field ``(axes, *shape)`` with standard deviation of about ``strength`` pixels."""
    coarse = rng.normal(0, strength, (len(shape), *[NODES] * len(shape))).astype(np.float32)
    return _stretch(coarse, shape)


def _stretch(coarse: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Cubic spline from ``NODES`` nodes an axis to ``shape``, the last axes of ``coarse``."""
    for axis, n in zip(range(-len(shape), 0), shape, strict=True):
        coarse = np.moveaxis(np.moveaxis(coarse, axis, -1) @ _spline_weights(n), -1, axis)
    return coarse


@lru_cache(maxsize=8)
def _spline_weights(n: int) -> np.ndarray:
    """``(NODES, n)`` float32."""
    nodes = np.eye(NODES)
    return ndimage.zoom(nodes, (1, n / NODES), order=3, grid_mode=True, mode="nearest").astype(np.float32)
