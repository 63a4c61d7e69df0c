"""Tissue classes without weights: a Gaussian mixture with a Markov random field, and how well two of them agree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.filters import threshold_multiotsu

SMOOTHNESS = 0.5  # what a neighbour of the same class adds to the log prior
ITERATIONS = 30
ODD = 1e-3  # fraction of the voxels at either end that thresholds take no notice of
MOST_CLASSES, BINS = 5, 96  # the time of Otsu's thresholds is that of all choices among the bins
SETTLED = 1e-3  # largest change of a class mean, over the range of the means, at which iteration stops


@dataclass(frozen=True)
class Agreement:
    """One class of an estimate against that of the truth.

    Attributes:
        dice: twice the overlap over the sum of both volumes, 1 for the same voxels.
        volume_error: volume of the estimate over that of the truth, minus 1.
    """

    dice: float
    volume_error: float


def tissue_classes(image: np.ndarray, mask: np.ndarray, classes: int = 3, smoothness: float = SMOOTHNESS) -> np.ndarray:
    """Labels 1 (darkest) to ``classes`` (brightest) inside ``mask``, 0 outside.

    Gaussian mixture and Potts field over the six neighbours, fitted by expectation maximisation in the mean-field
    approximation (Zhang 1992, "The mean field theory in EM procedures for Markov random fields"; as in Zhang et al.
    2001, with the classes' shares of the volume as priors). Starts from the thresholds of Otsu 1979, so that it has no
    randomness. A smooth intensity field is not modelled: where it is as large as the contrast of tissues, correct it
    first.

    Args:
        image: ``(a, b, c)`` intensities.
        mask: boolean, the same shape.
        classes: how many, 2 to 5.
        smoothness: log prior odds a neighbour of the same class is worth; 0 is the mixture alone.

    Returns:
        ``(a, b, c)`` uint8.

    Raises:
        ValueError: for another number of classes, or fewer distinct intensities than classes.
    """
    if not 2 <= classes <= MOST_CLASSES:
        raise ValueError(f"{classes} tissue classes were asked for; 2 to {MOST_CLASSES} can be told apart.")
    if np.unique(image[mask]).size < classes:
        raise ValueError(f"the masked image has fewer than {classes} different intensities.")
    labels = np.zeros(image.shape, dtype=np.uint8)
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    inside = mask[box]
    values = image[box][inside].astype(np.float64)
    means, variances = _start(values, classes)
    belief = np.zeros((classes, *inside.shape), dtype=np.float32)
    prior, shares = np.zeros((classes, values.size)), np.full(classes, 1 / classes)
    for _ in range(ITERATIONS):
        alone = np.log(shares) - 0.5 * np.log(variances)
        logarithm = prior + alone[:, None] - (values - means[:, None]) ** 2 / (2 * variances[:, None])
        posterior = np.exp(logarithm - logarithm.max(0))
        posterior /= posterior.sum(0)
        weight = posterior.sum(1) + 1e-12
        shares = weight / weight.sum()
        before, means = means, posterior @ values / weight
        spread = [p @ (values - m) ** 2 for p, m in zip(posterior, means, strict=True)]
        variances = np.maximum(np.array(spread) / weight, 1e-6 * values.var())
        belief[:, inside] = posterior
        prior = smoothness * np.stack([_neighbours(b)[inside] for b in belief])
        if np.abs(means - before).max() < SETTLED * np.ptp(means):
            break
    rank = np.empty(classes, dtype=np.uint8)
    rank[np.argsort(means)] = np.arange(1, classes + 1)
    found = np.zeros(inside.shape, dtype=np.uint8)
    found[inside] = rank[posterior.argmax(0)]
    labels[box] = found
    return labels


def _start(values: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances of the classes that Otsu's thresholds part."""
    most = values.clip(*np.quantile(values, (ODD, 1 - ODD)))  # a single hot voxel would leave the bins to nothing
    if np.unique(np.histogram_bin_edges(most, BINS).searchsorted(most)).size < classes:
        raise ValueError(f"all but a few intensities of the masked image fall into fewer than {classes} groups.")
    member = np.searchsorted(threshold_multiotsu(most, classes, nbins=BINS), values)
    counts = np.maximum(np.bincount(member, minlength=classes), 1)
    means = np.bincount(member, values, minlength=classes) / counts
    squares = np.bincount(member, (values - means[member]) ** 2, minlength=classes)
    return means, np.maximum(squares / counts, 1e-6 * values.var())


def _neighbours(belief: np.ndarray) -> np.ndarray:
    """Sum over the six neighbours, nothing beyond the edges."""
    padded = np.pad(belief, 1)
    middle = slice(1, -1)
    total = np.zeros_like(belief)
    for axis in range(3):
        for end in (slice(None, -2), slice(2, None)):
            total += padded[tuple(end if a == axis else middle for a in range(3))]
    return total


def compare_labels(truth: np.ndarray, estimate: np.ndarray) -> dict[int, Agreement]:
    """Dice and volume error of every label but 0 that the truth has.

    Args:
        truth: integer labels.
        estimate: the same shape.
    """
    found = {}
    for label in np.unique(truth[truth != 0]):
        true, other = truth == label, estimate == label
        overlap, volume, now = (int(m.sum()) for m in (true & other, true, other))
        found[int(label)] = Agreement(2 * overlap / (volume + now), now / volume - 1)
    return found
