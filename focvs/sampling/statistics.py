"""Posterior statistics of samples: mean, standard deviation, its null-space part, and how far the truth may be."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from focvs.acquisition.linear_operator import MatrixOperator

NEIGHBOURHOOD = 1.0  # voxels, standard deviation of the weights that average the variances of two samples
REACH = 4  # voxels as the prior works on them, where those weights end
POOLING = f"variances, {NEIGHBOURHOOD:g} (2 / samples)^(1/4) voxels"  # intervals hold for one way of pooling only


@dataclass(frozen=True)
class PosteriorSummary:
    """Statistics of the samples, each ``(a, b, n)`` in the units of the samples.

    Attributes:
        mean: mean of the samples.
        std: standard deviation (divided by samples - 1); zero for a single sample.
        null_std: standard deviation of the part the scan says nothing about, (I - A^+ A) x; at most ``std``, which it
            could exceed where that part and the rest go against each other.
    """

    mean: Tensor
    std: Tensor
    null_std: Tensor


def predictive_deviation(std: Tensor, samples: int, scale: Sequence[float] = (1, 1, 1)) -> Tensor:
    """Standard deviation of one more draw about the mean of ``samples`` draws: sqrt((1 + 1/M) G s^2).

    G averages the variances s^2 of neighbouring voxels, as a handful of draws tell little of each by itself, with
    Gaussian weights of a standard deviation of (2/M)^(1/4) voxels: more draws need less of it.

    Args:
        std: ``(a, b, n)`` standard deviation of the draws, divided by M - 1.
        samples: M.
        scale: voxels of ``std`` in a voxel that was sampled, along each axis; those between are copies, and only
            other sampled voxels tell more.
    """
    variance = std.float().square()
    for axis, factor in enumerate(scale):
        reach = math.ceil(REACH * factor)
        width = NEIGHBOURHOOD * (2 / samples) ** 0.25 * factor
        weights = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, dtype=torch.float32) / width) ** 2)
        weights = (weights / weights.sum()).to(std.device)
        columns = variance.movedim(axis, -1)
        padded = F.pad(columns.reshape(-1, 1, columns.shape[-1]), (reach, reach), mode="replicate")
        variance = F.conv1d(padded, weights[None, None]).view(columns.shape).movedim(-1, axis)
    return variance.mul(1 + 1 / samples).sqrt()


def replaced_noise(operator: MatrixOperator, noise_sigma: float) -> Tensor:
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


def summarise(samples: Iterable[Tensor], operator: MatrixOperator | None = None) -> PosteriorSummary:
    """Mean and deviations of samples ``(a, b, n)`` in one pass (Welford 1962), so that none has to be kept.

    Args:
        samples: at least one.
        operator: A, which splits off the null space; None takes all of a sample for it.

    Raises:
        ValueError: if there are no samples.
    """
    count, moments = 0, None
    for sample in samples:
        count += 1
        null = sample if operator is None else _null_space(operator, sample)
        if moments is None:
            moments = [(part.float().clone(), torch.zeros_like(part, dtype=torch.float32)) for part in (sample, null)]
            continue
        for part, (mean, squares) in zip((sample, null), moments, strict=True):
            above = part.float() - mean
            mean += above / count
            squares += above * (part.float() - mean)
    if moments is None:
        raise ValueError("there are no samples to summarise.")
    (mean, squares), (_, null_squares) = moments
    std, null_std = ((s / max(count - 1, 1)).sqrt() for s in (squares, null_squares))
    return PosteriorSummary(mean, std, torch.minimum(null_std, std))


def _null_space(operator: MatrixOperator, sample: Tensor) -> Tensor:
    """(I - A^+ A) x, in float64 a row at a time."""
    return torch.stack([operator.null_space(row.double()).float() for row in sample])
