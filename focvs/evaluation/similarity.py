"""How much one image tells of another, whatever their contrasts."""

from __future__ import annotations

import numpy as np

BINS = 32
WITHIN = (0.5, 99.5)  # percentiles that the bins span; values beyond are in the outermost


def mutual_information(first: np.ndarray, second: np.ndarray) -> float:
    """H(a) + H(b) - H(a, b) of intensities at the same places, in nats, from a histogram of 32 x 32 bins.

    Viola and Wells 1997, International Journal of Computer Vision 24:137; Maes et al. 1997, IEEE TMI 16:187.

    Args:
        first: ``(n,)`` intensities.
        second: ``(n,)`` intensities at the same places.

    Raises:
        ValueError: for different numbers of them, or none.
    """
    if first.shape != second.shape or not first.size:
        raise ValueError(f"{first.size} and {second.size} intensities cannot be compared.")
    counts = np.zeros((BINS, BINS))
    np.add.at(counts, (_binned(first), _binned(second)), 1)
    together = counts / counts.sum()
    return _entropy(together.sum(0)) + _entropy(together.sum(1)) - _entropy(together)


def _binned(values: np.ndarray) -> np.ndarray:
    low, high = np.percentile(values, WITHIN)
    scaled = (values - low) / max(float(high - low), 1e-12) * BINS
    return np.clip(scaled, 0, BINS - 1).astype(np.intp)


def _entropy(shares: np.ndarray) -> float:
    shares = shares[shares > 0]
    return float(-(shares * np.log(shares)).sum())
