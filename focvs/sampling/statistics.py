"""Posterior statistics of samples: mean, standard deviation, its null-space part, quantiles."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from focvs.acquisition.operator import ThroughPlaneOperator

QUANTILES = (0.05, 0.95)


@dataclass(frozen=True)
class PosteriorSummary:
    """Statistics of the samples, each ``(a, b, n)`` in the units of the samples.

    Attributes:
        mean: mean of the samples.
        std: standard deviation (divided by samples - 1); zero for a single sample.
        null_std: standard deviation of the part the scan says nothing about, (I - A^+ A) x.
        low: 5 % quantile, linear between samples.
        high: 95 % quantile.
    """

    mean: Tensor
    std: Tensor
    null_std: Tensor
    low: Tensor
    high: Tensor


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
        out = [torch.empty(values.shape[1:]) for _ in range(5)]
        for i in range(values.shape[1]):
            slab = values[:, i].double()
            null = slab if operator is None else operator.null_space(slab)
            low, high = torch.quantile(slab, torch.tensor(QUANTILES, dtype=torch.float64), dim=0)
            spread = [s.std(0, unbiased=True) if self.count > 1 else torch.zeros_like(s[0]) for s in (slab, null)]
            for target, value in zip(out, (slab.mean(0), *spread, low, high), strict=True):
                target[i] = value
        return PosteriorSummary(*out)
