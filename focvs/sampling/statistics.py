"""Posterior statistics of samples: mean, standard deviation, its null-space part, and how far the truth may be."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from focvs.acquisition.operator import ThroughPlaneOperator

NEIGHBOURHOOD = 1.0  # voxels, standard deviation of the weights that average the variances of two samples
REACH = 4  # voxels, where those weights end
POOLING = f"variances, {NEIGHBOURHOOD:g} (2 / samples)^(1/4) voxels"  # intervals hold for one way of pooling only


@dataclass(frozen=True)
class PosteriorSummary:
    """Statistics of the samples, each ``(a, b, n)`` in the units of the samples.

    Attributes:
        mean: mean of the samples.
        std: standard deviation (divided by samples - 1); zero for a single sample.
        null_std: standard deviation of the part the scan says nothing about, (I - A^+ A) x.
    """

    mean: Tensor
    std: Tensor
    null_std: Tensor


def predictive_deviation(std: Tensor, samples: int) -> Tensor:
    """Standard deviation of one more draw about the mean of ``samples`` draws: sqrt((1 + 1/M) G s^2).

    G averages the variances s^2 of neighbouring voxels, as a handful of draws tell little of each by itself, with
    Gaussian weights of a standard deviation of (2/M)^(1/4) voxels: more draws need less of it.

    Args:
        std: ``(a, b, n)`` standard deviation of the draws, divided by M - 1.
        samples: M.
    """
    offsets = torch.arange(-REACH, REACH + 1, dtype=torch.float32)
    width = NEIGHBOURHOOD * (2 / samples) ** 0.25
    weights = torch.exp(-0.5 * (offsets / width) ** 2)
    weights = (weights / weights.sum()).to(std.device)
    variance = std.float().square()
    for axis in range(3):
        columns = variance.movedim(axis, -1)
        padded = F.pad(columns.reshape(-1, 1, columns.shape[-1]), (REACH, REACH), mode="replicate")
        variance = F.conv1d(padded, weights[None, None]).view(columns.shape).movedim(-1, axis)
    return variance.mul(1 + 1 / samples).sqrt()


def replaced_noise(operator: ThroughPlaneOperator, noise_sigma: float) -> Tensor:
    """``(n,)`` standard deviation that an exact replacement takes over from a scan's noise: the root of the diagonal of
    sigma_y^2 A^+ A^+^T. All samples have it in common, so that their spread knows nothing of it.
    """
    return noise_sigma * operator.pseudo_inverse_matrix.square().sum(1).sqrt()


def half_width(deviation: Tensor, factor: float, noise: Tensor | float, level: float) -> Tensor:
    """Half the width of the interval that holds ``level``: sqrt((k s)^2 + (z c)^2), z of a normal distribution.

    Args:
        deviation: s, predictive deviation of the samples.
        factor: k, how many of them the prior errs by.
        noise: c, of :func:`replaced_noise`, broadcast against ``deviation``.
        level: between 0 and 1.
    """
    return ((factor * deviation) ** 2 + (normal_quantile(level) * torch.as_tensor(noise)) ** 2).sqrt()


def normal_quantile(level: float) -> float:
    """Half the width of the central interval of a standard normal distribution that holds ``level`` of it."""
    return math.sqrt(2) * float(torch.erfinv(torch.tensor(level, dtype=torch.float64)))


class SampleStore:
    """Holds each sample once and summarises them slab by slab, so that no second copy of all is ever made.

    Args:
        samples: how many will be added.
        shape: ``(a, b, n)`` of one sample.
    """

    def __init__(self, samples: int, shape: tuple[int, ...]):
        self.values = torch.empty((samples, *shape), dtype=torch.float32)
        self.count = 0

    def add(self, sample: Tensor) -> None:
        """Append one ``(a, b, n)`` sample."""
        self.values[self.count] = sample.to("cpu", torch.float32)
        self.count += 1

    def summarise(self, operator: ThroughPlaneOperator | None = None) -> PosteriorSummary:
        """Statistics of the samples added so far; ``operator`` splits off the null space.

        Raises:
            ValueError: if no sample was added.
        """
        if not self.count:
            raise ValueError("there are no samples to summarise.")
        values = self.values[: self.count]
        mean, std, null_std = (torch.empty(values.shape[1:]) for _ in range(3))
        for i in range(values.shape[1]):
            slab = values[:, i].double()
            null = slab if operator is None else operator.null_space(slab)
            spread = [s.std(0, unbiased=True) if self.count > 1 else torch.zeros_like(s[0]) for s in (slab, null)]
            for target, value in zip((mean, std, null_std), (slab.mean(0), *spread), strict=True):
                target[i] = value
        return PosteriorSummary(mean, std, null_std)
