"""What a method gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from focvs.priors.intervals import Interval


@dataclass(frozen=True, eq=False)
class Restoration:
    """What a method gives, in the scan's intensity units, arrays ``(p, q, n)``."""

    images: dict[str, np.ndarray]  # mean; where there are samples also std, nullstd, and predictive or q05 and q95
    samples: Iterator[np.ndarray]  # finished one at a time, so that no second copy of all is ever held
    rule: str
    exact: bool  # whether the last exact replacement was made
    noise_sigma: float
    chi2_before_last_replacement: float | None
    seeds: list[int]
    warnings: list[str]
    interval: Interval | None = None  # between q05 and q95, where there are several samples
