"""Odd slices of an interleaved scan that are brighter than even ones in places: a smooth field, from the slices."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from focvs.scan.interleaving import FEWEST_PIXELS, FEWEST_SLICES, NORMAL_MAD
from focvs.scan.slice_gains import ENDS, predicting_weights

PERIOD_MM, PERIOD_SLICES_MM = 45.0, 60.0  # shortest half period of the field, within slices and across them
EXPECTED = 0.03  # standard deviation of a field, natural logarithm: how much it is believed against the noise
OUTLIER = 3.0  # robust standard deviations at which log ratios are cut
DRAWS = 64  # orders of slices at random that the alternating one is compared with
CLEAR = 1.5  # times what the median of those explains; even scans reach 1.3 (scripts/benchmark_passes.py)


@dataclass(frozen=True, eq=False)
class PassField:
    """The logarithm of odd over even slices.

    Attributes:
        log_ratio: ``(p, q, m)`` natural logarithm, smooth.
        coefficients: ``(z, x, y)`` of its cosines, cos(pi k (i + 1/2) / n) for sample i of n along each axis.
        evidence: how much of the differences between slices it explains, over what fields of slices in random order do.
    """

    log_ratio: Tensor
    coefficients: Tensor
    evidence: float

    @property
    def clear(self) -> bool:
        """Whether it explains more than chance and anatomy do."""
        return self.evidence > CLEAR

    def gains(self) -> Tensor:
        """``(p, q, m)`` factors that slices carry."""
        return (signs_of(self.log_ratio.shape[-1]) * self.log_ratio / 2).exp()


def signs_of(slices: int) -> Tensor:
    """``(slices,)`` float64: -1 for slices 0, 2, 4 ..., 1 for the others."""
    return 2.0 * (torch.arange(slices) % 2).double() - 1


def find_pass_field(scan: Tensor, mask: Tensor, pixel_mm: tuple[float, float], spacing_mm: float) -> PassField | None:
    """The smooth field that explains best how slices differ from what the others say.

    The log ratio of slice i to its prediction from the others (:func:`focvs.scan.slice_gains.predicting_weights`) is
    (s_i - sum_j w_ij s_j) f / 2 for a field f and signs s of odd and even slices. f is a sum of cosines, fitted to all
    pixels of the head by least squares; anatomy is what the same fit explains with signs in random order, and the field
    is shrunk by it (a ridge with the variance of that as noise).

    Args:
        scan: ``(p, q, m)`` intensities.
        mask: ``(p, q, m)`` boolean, head that is well above the noise.
        pixel_mm: pixels along p and q.
        spacing_mm: distance of slice centres.

    Returns:
        None where too few slices can be compared.
    """
    slices = scan.shape[-1]
    kept = (mask.flatten(0, 1).sum(0) >= FEWEST_PIXELS).nonzero()[:, 0]
    if len(kept) < FEWEST_SLICES + 2 * ENDS:
        return None
    weights = predicting_weights(slices, kept)
    logs, shared = _log_ratios(scan[..., kept], mask[..., kept], weights)
    seen = (shared.flatten(0, 1).sum(0) >= FEWEST_PIXELS).nonzero()[ENDS:-ENDS, 0]
    if len(seen) < FEWEST_SLICES:
        return None
    rows, columns = (_cosines(n, n * mm / PERIOD_MM) for n, mm in zip(scan.shape[:2], pixel_mm, strict=True))
    across = _cosines(slices, slices * spacing_mm / PERIOD_SLICES_MM)
    spread = NORMAL_MAD * float(logs[..., seen][shared[..., seen]].abs().median())
    logs = logs.clamp(-OUTLIER * spread, OUTLIER * spread) * shared
    moments, grams = _moments(logs[..., seen], shared[..., seen], rows, columns)
    basis = across[kept[seen]]
    signs = signs_of(slices)[kept]
    generator = torch.Generator().manual_seed(0)
    orders = [signs[torch.randperm(len(signs), generator=generator)] for _ in range(DRAWS)]
    explained = [_fit(moments, grams, basis, _response(order, weights)[seen])[2] for order in orders]
    chance = float(torch.tensor(explained).median())
    normal, target, found = _fit(moments, grams, basis, _response(signs, weights)[seen])
    count = len(target)
    noise = chance / count
    smoothness = _smoothness(basis.shape[1], rows.shape[1], columns.shape[1])
    coefficients = torch.linalg.solve(normal + noise * torch.diag(smoothness / EXPECTED**2), target)
    shaped = coefficients.view(basis.shape[1], rows.shape[1], columns.shape[1])
    field = torch.einsum("zxy,px,qy,mz->pqm", shaped, rows, columns, across)
    return PassField(field, shaped, found / chance if chance > 0 else math.inf)


def _log_ratios(scan: Tensor, mask: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Log ratios of slices to their predictions ``(p, q, k)`` float64, and where both are head."""
    predicted = scan.double() @ weights.T
    shared = mask & (predicted > 0)
    shared[..., 1:] &= mask[..., :-1]
    shared[..., :-1] &= mask[..., 1:]
    ratios = torch.where(shared, scan.double() / torch.where(shared, predicted, 1.0), 1.0)
    return ratios.clamp_min(1e-3).log(), shared


def _response(signs: Tensor, weights: Tensor) -> Tensor:
    """``(k,)`` log ratio of each slice for a field of one."""
    return (signs - weights @ signs) / 2


def _cosines(count: int, half_periods: float) -> Tensor:
    """``(count, orders)`` cosines over ``count`` samples, up to so many half periods."""
    orders = torch.arange(int(half_periods) + 1, dtype=torch.float64)
    places = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return torch.cos(math.pi * places[:, None] * orders)


def _smoothness(*orders: int) -> Tensor:
    """``(coefficients,)`` factor by which a coefficient is expected to be smaller in variance, by its order."""
    squares = torch.stack(torch.meshgrid(*[torch.arange(n).double() for n in orders], indexing="ij")).square().sum(0)
    return (1 + squares.flatten()) ** 1.5


def _moments(logs: Tensor, shared: Tensor, rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """Of each slice the products of basis and log ratios ``(k, b)``, and of basis and basis ``(k, b, b)``."""
    moments, grams = [], []
    for values, inside in zip(logs.unbind(-1), shared.unbind(-1), strict=True):
        p, q = inside.nonzero().T
        basis = (rows[p][:, :, None] * columns[q][:, None, :]).flatten(1)
        moments.append(basis.T @ values[p, q])
        grams.append(basis.T @ basis)
    return torch.stack(moments), torch.stack(grams)


def _fit(moments: Tensor, grams: Tensor, across: Tensor, response: Tensor) -> tuple[Tensor, Tensor, float]:
    """Normal matrix, its right-hand side, and the sum of squares that the fit explains."""
    weighted = across * response[:, None]
    target = torch.einsum("kz,kb->zb", weighted, moments).flatten()
    normal = torch.einsum("kz,ky,kab->zayb", weighted, weighted, grams).reshape(len(target), len(target))
    ridge = 1e-6 * normal.diagonal().mean() * torch.eye(len(target), dtype=torch.float64)
    return normal, target, float(target @ torch.linalg.solve(normal + ridge, target))
