"""The mean of a volume given its scan, without sampling: evaluations of a prior that is told of the scan."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from focvs.priors.denoiser import Denoiser
from focvs.sampling.consistency import Measured


def cascade(
    stages: Sequence[Denoiser],
    x: Tensor,
    sigma: float,
    *,
    consistency: Measured,
    callback: Callable[[int], None] | None = None,
) -> Tensor:
    """E[x | y] by one evaluation of every stage, what the scan knows replaced after each.

    A denoiser that is told of the scan gives E[x | x + sigma n, y], which for a large sigma is E[x | y] whatever the
    noisy image is: none is drawn. A later stage improves what those before it gave, as unrolled reconstruction does
    (Schlemper et al. 2018, IEEE TMI 37:491, equation 6), and hears of the other plane and of the scan in it.

    Args:
        stages: denoisers of ``(b, ..., n)``; all but the first take the mean so far for the noisy image.
        x: ``(b, ..., n)`` the interpolated scan.
        sigma: noise level that they are told.
        consistency: the replacement rule with the scan, of as many levels as there are stages.
        callback: called with the number of stages done.

    Raises:
        ValueError: without stages.
    """
    if not stages:
        raise ValueError("a cascade needs at least one stage.")
    for level, stage in enumerate(stages):
        x = consistency.replace(stage(x, sigma), level)
        if callback:
            callback(level + 1)
    return x
