"""Guides for training: the same anatomy in another contrast, with things of its own, and not quite in place."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from focvs.acquisition.guided_filter import AIR
from focvs.acquisition.simulation import rician
from focvs.training.synthesis import add_lesions, bias_field, random_curve


@dataclass(frozen=True)
class GuidePlan:
    """How guides of training blocks are made.

    Attributes:
        absent: probability that a block has none, so that one set of weights serves both.
        own: probability that a real head keeps its own contrast, while the scan may have another.
        cut: probability that the guide ends inside the block.
        blended: probability that its contrast is not one function of intensities everywhere.
        lesions, vessels: probabilities of such that the scan does not have.
        misplaced: probability that it is misregistered.
        most_shift_px: of a misregistered one, along each axis.
        most_turn_deg: likewise, about each axis.
        most_blur_px: standard deviation of the blur of a guide whose voxels are larger.
        noisy: probability of Rician noise, of up to 3 % of the 99.5th percentile.
    """

    absent: float = 0.25
    own: float = 0.25
    cut: float = 0.08
    blended: float = 0.5
    lesions: float = 0.4
    vessels: float = 0.3
    misplaced: float = 0.6
    most_shift_px: float = 1.5
    most_turn_deg: float = 1.0
    most_blur_px: float = 0.7
    noisy: float = 0.5


def make_guide(anatomy: np.ndarray, plan: GuidePlan, rng: np.random.Generator, *, other: bool) -> np.ndarray:
    """A guide of a block, prior units.

    Args:
        anatomy: ``(d, h, w)`` intensities about 0-1, before the scan's own changes.
        plan: see :class:`GuidePlan`.
        rng: source of randomness.
        other: whether it is in another contrast already, as the second painting of a label map is.

    Returns:
        Float32 of the same shape; :data:`AIR` everywhere where the block has no guide.
    """
    if rng.random() < plan.absent:
        return np.full(anatomy.shape, AIR, dtype=np.float32)
    image = anatomy.astype(np.float32).clip(0, 1.5)
    if not other and rng.random() >= plan.own:
        image = _another_contrast(image, plan, rng)
    if rng.random() < plan.lesions:
        image = add_lesions(image, rng, anywhere=True)
    if rng.random() < plan.vessels:
        image = add_tubes(image, rng)
    if rng.random() < plan.misplaced:
        image = _moved(image, plan, rng)
    image = ndimage.gaussian_filter(image, rng.uniform(0, plan.most_blur_px)) * bias_field(
        image.shape, rng.uniform(0, 0.15), rng
    )
    if rng.random() < plan.noisy:
        image = rician(image, rng.uniform(0, 0.03), rng)
    image = image.clip(0) ** np.exp(rng.normal(0, 0.15)) * rng.uniform(0.8, 1.1)
    if rng.random() < plan.cut:
        _cut_off(image, rng)
    return np.asarray(2 * image - 1, dtype=np.float32)


def _another_contrast(image: np.ndarray, plan: GuidePlan, rng: np.random.Generator) -> np.ndarray:
    """One random curve of the intensities, or two that a smooth field blends."""

    def curved() -> np.ndarray:
        kind = str(rng.choice(["monotone", "inverted", "free"], p=[0.25, 0.35, 0.4]))
        return np.asarray(random_curve(rng, kind)(image), dtype=np.float32)

    first = curved()
    if rng.random() >= plan.blended:
        return first
    share = 1 / (1 + np.exp(-4 * np.log(bias_field(image.shape, 1.0, rng))))
    return first + share * (curved() - first)


def add_tubes(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One to three thin winding tubes ``(d, h, w)``, bright or dark, inside the head."""
    out, level = image.copy(), 0.0 if rng.random() < 0.4 else rng.uniform(0.7, 1.4)
    size = np.array(image.shape)
    for _ in range(rng.integers(1, 4)):
        steps = int(3 * size.max())
        heading = np.cumsum(rng.normal(0, 0.08, (steps, 3)), axis=0) + rng.normal(0, 1, 3)
        heading /= np.linalg.norm(heading, axis=1, keepdims=True)
        path = rng.uniform(0, size) + 0.5 * np.cumsum(heading, axis=0)
        inside = path[((path >= 0) & (path <= size - 1)).all(1)]
        line = np.zeros(image.shape, dtype=np.float32)
        line[tuple(np.rint(inside).astype(int).T)] = 1
        width = rng.uniform(0.4, 1.1)
        cover = np.clip(ndimage.gaussian_filter(line, width) * width**2 * 6 * rng.uniform(0.4, 1.2), 0, 1)
        out += cover * (level - out) * (image > 0.08)
    return out


def _moved(image: np.ndarray, plan: GuidePlan, rng: np.random.Generator) -> np.ndarray:
    """A little turned and shifted about its middle."""
    angles = np.deg2rad(rng.uniform(-plan.most_turn_deg, plan.most_turn_deg, 3))
    turn = Rotation.from_rotvec(angles).as_matrix()
    middle = (np.array(image.shape) - 1) / 2
    shift = rng.uniform(-plan.most_shift_px, plan.most_shift_px, 3)
    return ndimage.affine_transform(image, turn, middle - turn @ middle + shift, order=1, mode="nearest")


def _cut_off(image: np.ndarray, rng: np.random.Generator) -> None:
    """Nothing beyond a random place along an axis, as where the guide's field of view ends."""
    axis = int(rng.integers(3))
    place = int(rng.integers(1, image.shape[axis]))
    beyond = slice(place, None) if rng.random() < 0.5 else slice(0, place)
    image[(slice(None),) * axis + (beyond,)] = 0
