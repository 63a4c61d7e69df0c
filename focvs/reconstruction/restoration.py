"""What a method gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from focvs.priors.intervals import Interval


class Samples(Sequence[np.ndarray]):
    """Volumes that are made when they are asked for, so that no second copy of all is ever held.

    Args:
        make: from the number of a sample, from 0, to its volume ``(p, q, n)``.
        size: how many there are.
    """

    def __init__(self, make: Callable[[int], np.ndarray], size: int):
        self.make, self.size = make, size

    def __len__(self) -> int:
        return self.size

    @overload
    def __getitem__(self, which: int) -> np.ndarray: ...

    @overload
    def __getitem__(self, which: slice) -> Sequence[np.ndarray]: ...

    def __getitem__(self, which: int | slice) -> np.ndarray | Sequence[np.ndarray]:
        if isinstance(which, slice):
            return [self.make(i) for i in range(self.size)[which]]
        return self.make(range(self.size)[which])

    def mapped(self, change: Callable[[np.ndarray], np.ndarray]) -> Samples:
        """The same, each changed."""
        return Samples(lambda i: change(self.make(i)), self.size)


NO_SAMPLES = Samples(lambda i: np.empty(0), 0)


@dataclass(frozen=True, eq=False)
class Restoration:
    """A restored volume in the scan's intensities, arrays ``(p, q, n)``, as it is to be written.

    Attributes:
        mean: the best estimate.
        samples: those of the posterior, each as it is written; none of ``sampler=mean`` and of methods without a prior.
        rule: consistency rule, or the method.
        exact: whether the last exact replacement was made.
        noise_intensity: standard deviation of the scan's noise.
        misfit: chi^2 = |y - A x|^2 / (m sigma_y^2) in the head before the last replacement; None where that is unknown.
        warnings: a sentence each.
        interval: of ``q05`` and ``q95``, where there are several samples or the prior tells a deviation.
        sampled: boolean, where the prior was sampled: in the head's box, but not in a background that was set to zero.
        scale: written voxels in a voxel that was sampled, along each axis.
        deviation: standard deviation of the error of the mean, where the prior tells it instead of samples.
        evaluations: of networks on all slices of a plane, in all.
    """

    mean: np.ndarray
    samples: Samples
    rule: str
    exact: bool
    noise_intensity: float
    misfit: float | None
    warnings: tuple[str, ...]
    interval: Interval | None = None
    sampled: np.ndarray | None = None
    scale: tuple[float, float, float] = (1, 1, 1)
    deviation: np.ndarray | None = None
    evaluations: int = 0
