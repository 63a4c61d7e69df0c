"""Maps from signals: a voxelwise maximum a posteriori fit (Gauss-Newton with Levenberg's damping)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from focvs.signal.sequences import Sequence, jacobian

BOUNDS = ((1e-4, 10.0), (0.05, 8.0), (0.004, 4.0))  # proton density over the white level of it, T1 and T2 in seconds
VOXELS = 1 << 17  # at a time
FIRST_DAMPING, LEAST_DAMPING, MOST_DAMPING = 1e-3, 1e-9, 1e6
SETTLED = 1e-6  # a step of the logarithms after which a voxel is left as it is
TINY = 1e-20
USUAL = torch.tensor([0.8, 1.2, 0.08], dtype=torch.float64)  # where fits begin


@dataclass(frozen=True)
class Fit:
    """What a fit gives.

    Attributes:
        maps: ``(..., 3)``.
        covariance: ``(..., 3, 3)`` of the logarithms of the maps, as the weights of the signals have it.
        misfit: ``(...)`` weighted sum of squares.
    """

    maps: Tensor
    covariance: Tensor
    misfit: Tensor


def fit_maps(
    sequence: Sequence,
    signals: Tensor,
    start: Tensor,
    precision: Tensor | None = None,
    prior_precision: Tensor | None = None,
    prior_mean: Tensor | None = None,
    iterations: int = 20,
    bounds: tuple[tuple[float, float], ...] = BOUNDS,
) -> Fit:
    """The maps whose signals are nearest, ``argmin (f(q) - s)^T W (f(q) - s) + (log q - m)^T P (log q - m)``.

    Maps are searched as logarithms, so that they stay above zero, within bounds. A voxel takes a step only if it lowers
    its sum; otherwise its damping rises tenfold (Levenberg 1944).

    Args:
        sequence: gives ``(..., k)`` signals of ``(..., 3)`` maps.
        signals: ``(..., k)``.
        start: ``(..., 3)`` where the search begins.
        precision: W, ``(k,)`` or ``(..., k)`` inverse variances of the signals, or ``(..., k, k)``; ones without it.
        prior_precision: P, ``(..., 3, 3)`` or one for all, of the logarithms; none without it.
        prior_mean: m, ``(3,)`` or ``(..., 3)``, of the logarithms; those of ``start`` without it.
        iterations: at most.
        bounds: of proton density, T1 and T2.
    """
    shape, k = signals.shape[:-1], signals.shape[-1]
    flat = signals.reshape(-1, k)
    begin = start.expand(*shape, 3).reshape(-1, 3)
    weights = _as_matrices(precision, signals)
    prior = None if prior_precision is None else prior_precision.expand(*shape, 3, 3).reshape(-1, 3, 3)
    mean = None if prior_mean is None else prior_mean.expand(*shape, 3).reshape(-1, 3)
    parts = []
    for first in range(0, len(flat), VOXELS):
        one = slice(first, first + VOXELS)
        w = weights if weights.dim() == 2 else weights[one]
        p, m = (None if value is None else value[one] for value in (prior, mean))
        parts.append(_fit(sequence, flat[one], begin[one], w, p, m, iterations, bounds))
    maps, covariance, misfit = (torch.cat(column) for column in zip(*parts, strict=True))
    return Fit(maps.reshape(*shape, 3), covariance.reshape(*shape, 3, 3), misfit.reshape(shape))


def _as_matrices(precision: Tensor | None, signals: Tensor) -> Tensor:
    """``(k, k)`` for all voxels, or ``(voxels, k, k)``."""
    k = signals.shape[-1]
    if precision is None:
        return torch.eye(k, dtype=signals.dtype)
    if precision.shape[-2:] == (k, k) and precision.dim() > 1 and precision.shape[:-2] in ((), signals.shape[:-1]):
        return precision if precision.dim() == 2 else precision.reshape(-1, k, k)
    matrices = torch.diag_embed(precision)
    return matrices if matrices.dim() == 2 else matrices.reshape(-1, k, k)


def _fit(
    sequence: Sequence,
    signals: Tensor,
    start: Tensor,
    weights: Tensor,
    prior: Tensor | None,
    mean: Tensor | None,
    iterations: int,
    bounds: tuple[tuple[float, float], ...],
) -> tuple[Tensor, Tensor, Tensor]:
    low, high = torch.tensor(bounds, dtype=signals.dtype).log().T
    logs = start.log().clamp(low, high)
    origin = logs if mean is None else mean
    logs = logs.clone()
    damping = torch.full_like(signals[:, 0], FIRST_DAMPING)
    misfit, normal, gradient = _linearise(sequence, signals, logs, origin, weights, prior)
    going = torch.arange(len(signals))  # voxels whose search goes on
    for _ in range(iterations):
        part = normal[going]
        scale = part.diagonal(dim1=-2, dim2=-1)
        damped = part + torch.diag_embed(damping[going, None] * scale + TINY)
        step = (_inverse(damped) @ gradient[going, :, None])[..., 0].clamp(-1, 1)
        trial = (logs[going] - step).clamp(low, high)
        found = _linearise(
            sequence,
            signals[going],
            trial,
            origin[going],
            weights if weights.dim() == 2 else weights[going],
            None if prior is None else prior[going],
        )
        better = found[0] < misfit[going]
        taken = going[better]
        logs[taken] = trial[better]
        misfit[taken], normal[taken], gradient[taken] = (value[better] for value in found)
        damping[going] = torch.where(better, damping[going] / 10, damping[going] * 10).clamp(min=LEAST_DAMPING)
        settled = torch.where(better, step.abs().amax(-1) < SETTLED, damping[going] > MOST_DAMPING)
        going = going[~settled]
        if not len(going):
            break
    ridge = 1e-9 * normal.diagonal(dim1=-2, dim2=-1).amax(-1)[:, None, None] + TINY
    return logs.exp(), _inverse(normal + ridge * torch.eye(3, dtype=signals.dtype)), misfit


def _inverse(matrices: Tensor) -> Tensor:
    """Inverses of ``(..., 3, 3)`` by cofactors, many times as fast as one by one."""
    a, b, c = matrices.unbind(-2)
    cofactors = torch.stack([torch.linalg.cross(b, c), torch.linalg.cross(c, a), torch.linalg.cross(a, b)], -1)
    return cofactors / (a * cofactors[..., 0]).sum(-1)[..., None, None]


def _linearise(
    sequence: Sequence, signals: Tensor, logs: Tensor, origin: Tensor, weights: Tensor, prior: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Sum of squares, normal matrix and half the gradient, of the logarithms."""
    maps = logs.exp()
    shown, derivative = jacobian(sequence, maps)
    derivative = derivative * maps[:, None, :]
    error = shown - signals
    weighted = derivative.mT @ weights
    normal, gradient = weighted @ derivative, (weighted @ error[..., None])[..., 0]
    misfit = (error[:, None, :] @ weights @ error[..., None])[:, 0, 0]
    if prior is not None:
        away = (prior @ (logs - origin)[..., None])[..., 0]
        normal, gradient = normal + prior, gradient + away
        misfit = misfit + ((logs - origin) * away).sum(-1)
    return misfit, normal, gradient
