"""Do intervals hold what they say? Coverage, CRPS, and how well the spread of samples tells the size of errors.

Arrays hold the voxels of the head in any one order and any one unit; samples come first, ``(M, voxels)``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import special, stats

MOST_VOXELS = 200_000  # of each head, evenly spaced, from which factors are found


def coverage(error: np.ndarray, half_width: np.ndarray | float) -> float:
    """Fraction of the voxels whose error is no larger than half the width of their interval."""
    return float(np.mean(np.abs(error) <= half_width))


def student_half_width(std: np.ndarray, samples: int, level: float) -> np.ndarray:
    """Half the width of the interval that holds one more draw, for normal draws: t sqrt(1 + 1/M) s."""
    return np.asarray(stats.t.ppf((1 + level) / 2, samples - 1) * np.sqrt(1 + 1 / samples) * std)


def factors_of(
    errors: Sequence[np.ndarray], deviations: Sequence[np.ndarray], levels: Sequence[float]
) -> tuple[float, ...]:
    """Factors k for which |error| <= k deviation holds at each level's share of voxels, heads counting alike.

    The quantile of split conformal prediction with scores normalised by the deviation (Lei et al. 2018, section 5.2),
    of all heads together; voxels of few heads are not exchangeable, so that it comes without the guarantee.

    Args:
        errors: of each head, mean of the samples less truth, of scans without noise.
        deviations: the same shapes, predictive standard deviations.
        levels: between 0 and 1.

    Raises:
        ValueError: without heads, or where a deviation is 0.
    """
    if not errors:
        raise ValueError("factors need at least one head.")
    fewest = min(MOST_VOXELS, *(error.size for error in errors))
    scores = []
    for error, deviation in zip(errors, deviations, strict=True):
        chosen = np.linspace(0, error.size - 1, fewest).round().astype(int)
        if not (deviation[chosen] > 0).all():
            raise ValueError("a deviation is 0 where there is head.")
        scores.append(np.abs(error[chosen]) / deviation[chosen])
    together = np.sort(np.concatenate(scores))
    ranks = np.ceil((together.size + 1) * np.asarray(levels)).astype(int).clip(1, together.size)
    return tuple(float(k) for k in together[ranks - 1])


def sample_crps(samples: np.ndarray, truth: np.ndarray) -> float:
    """Mean CRPS of an ensemble without its bias for few members (Ferro 2014, fair scores).

    Args:
        samples: ``(M, voxels)``, at least two.
        truth: ``(voxels,)``.
    """
    count = len(samples)
    ordered = np.sort(samples.astype(np.float64), axis=0)
    weights = 2 * np.arange(1, count + 1) - count - 1  # sum over pairs |x_i - x_j| = sum_i weights_i x_(i)
    pairs = np.tensordot(weights, ordered, 1) / (count * (count - 1))
    return float((np.abs(ordered - truth).mean(0) - pairs).mean())


def normal_crps(error: np.ndarray, deviation: np.ndarray) -> float:
    """Mean CRPS of normal distributions (Gneiting et al. 2005, equation 5)."""
    z = error / deviation
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return float((deviation * (z * special.erf(z / np.sqrt(2)) + 2 * density - 1 / np.sqrt(np.pi))).mean())


def spread_skill(std: np.ndarray, error: np.ndarray, samples: int) -> float:
    """Root mean variance of the samples over root mean squared error of their mean, corrected for M (Fortin 2014).

    1 for samples that are as far from each other as from the truth; below 1 they are too confident.
    """
    spread = np.sqrt((1 + 1 / samples) * np.mean(std.astype(np.float64) ** 2))
    return float(spread / np.sqrt(np.mean(error.astype(np.float64) ** 2)))


def rank_correlation(deviation: np.ndarray, error: np.ndarray) -> float:
    """Spearman's correlation of the deviation with the absolute error."""
    return float(stats.spearmanr(deviation, np.abs(error)).statistic)
