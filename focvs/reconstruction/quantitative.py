"""Maps of proton density, T1 and T2 on thin voxels, from coarse ones and sharp weighted images of the same head.

Partial volume is linear in signal and not in T1, so maps are worked on as signals that determine them voxel by voxel
(:mod:`focvs.reconstruction.signal_domain`). Each is restored by itself first; then a voxelwise fit ties them to each
other and to the guides, and what was measured is replaced. What a guide says of one signal reaches the others through
their covariance: detail that is missing in one is missing in all. (After Samadifardheris et al., whose anchor is soft.)
"""

from __future__ import annotations

from collections.abc import Sequence as Many
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from focvs.acquisition.linear_operator import LinearOperator
from focvs.reconstruction.density_relation import density_relation
from focvs.reconstruction.signal_domain import Domain, domain_of_maps
from focvs.reconstruction.signal_errors import correlated, detail_correlation, precision_of, with_guides
from focvs.signal.fitting import Fit, fit_maps
from focvs.signal.sequences import DENSITY, Sequence, Several

ROUNDS = 1
GAIN_MM = 25.0  # standard deviation of the Gaussian that makes a guide's gain smooth
WITHIN = 0.99  # share of a coarse voxel that is head, where its maps are looked at
LEAST_SHARE = 1e-3  # of the white level of a signal, that a deviation is at least
MOST_PROJECTIONS, ENOUGH = 12, 1e-4  # of the last ones, and the residual over the largest signal that ends them
ALL_MAPS = domain_of_maps((True, True, True))


@dataclass(frozen=True, eq=False)
class WeightedImage:
    """A sharp weighted image of the same head.

    Attributes:
        image: ``(p, q, n)`` intensities of any unit, on the voxels of the maps; zero where it shows nothing.
        sequence: what its intensities show of the maps, up to a smooth gain.
        error: standard deviation of what neither noise nor gain explains, as a share of its white level.
    """

    image: Tensor
    sequence: Sequence
    error: float = 0.03


@dataclass(frozen=True, eq=False)
class Problem:
    """Signals on coarse voxels, each restored by itself.

    Attributes:
        measured: ``(k, ...)`` on coarse voxels, thick slices last.
        operator: from thin voxels to them.
        estimate: ``(k, p, q, n)``.
        deviation: ``(k, p, q, n)`` of its error.
        mask: ``(p, q, n)`` the head.
        domain: what the signals are, and the maps that they determine.
        voxel_mm: sizes of thin voxels.
        draws: ``(samples, k, p, q, n)`` of each signal alone, whose mean is about the estimate; or None.
        affine: ``(4, 4)`` of thin voxels in the order of the files.
        axis: that of the files' arrays which is the last one here.
        warnings: what was odd, a sentence each.
    """

    measured: Tensor
    operator: LinearOperator
    estimate: Tensor
    deviation: Tensor
    mask: Tensor
    domain: Domain = ALL_MAPS
    voxel_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    draws: Tensor | None = None
    affine: np.ndarray = field(default_factory=lambda: np.eye(4))
    axis: int = 2
    warnings: tuple[str, ...] = ()

    @property
    def white(self) -> Tensor:
        """``(k,)`` white levels of the signals."""
        return torch.stack([_white(one[one > 0]) for one in self.measured.double()])

    def shown(self, maps: Tensor, signals: Tensor) -> Tensor:
        """``(k, p, q, n)``: the signals of ``(p, q, n, 3)`` maps in the head, and the given ones outside of it."""
        shown = signals.clone()
        shown[:, self.mask] = self.domain.reference(maps[self.mask]).T
        return shown


@dataclass(frozen=True, eq=False)
class Sharpened:
    """Maps on thin voxels.

    Attributes:
        maps: ``(p, q, n, 3)`` proton density in the unit of what was given, T1 and T2 in seconds; zero outside of the
            head, where they mean nothing.
        deviation: ``(p, q, n, 3)`` standard deviation of their error.
        signals: ``(k, p, q, n)`` of the reference sequences.
        gains: ``(p, q, n)`` of each guide: its intensity over the signal of the maps.
    """

    maps: Tensor
    deviation: Tensor
    signals: Tensor
    gains: list[Tensor]


def sharpen_maps(
    problem: Problem,
    guides: Many[WeightedImage] = (),
    anchored: bool = True,
    rounds: int = ROUNDS,
    seed: int = 0,
    related: bool = True,
) -> Sharpened:
    """Tie restored signals to each other, to guides, and to what was measured.

    Where signals stand for density, T1 and T2, density goes with T1 as coarse maps show it around
    (:mod:`focvs.reconstruction.density_relation`). The deviation is that of the fit, to first order; with draws of the
    signals it is that of as many results, each fitted to one draw, to guides with another noise and to another draw of
    what is known before (perturb and fit: Papandreou and Yuille, NIPS 2010).

    Args:
        problem: the signals.
        guides: sharp weighted images.
        anchored: whether what was measured is replaced; without it guides may contradict it.
        rounds: of gains and fit, where there are guides; each fit is of what was restored: no guide counts twice.
        seed: of the noise of the guides and of what is known before, where there are draws.
        related: whether density goes with T1, where signals stand for all three maps. Without that and without guides
            signals stay as they were restored.
    """
    mask, estimate = problem.mask, problem.estimate.double()
    scale = problem.domain.scale(problem.white)
    spread = torch.maximum(problem.deviation.double(), LEAST_SHARE * problem.white[:, None, None, None])
    inside = spread[:, mask].T / scale
    correlation = detail_correlation(problem.measured.double(), problem.operator, problem.voxel_mm)[mask]
    precision = precision_of(inside, correlation)
    relation = _related(problem, scale) if related and problem.domain.of_signals else None
    prior = relation or (problem.domain.mean, problem.domain.precision)
    fitted = partial(
        _fitted, problem, precision=precision, scale=scale, tied=bool(guides or relation), anchored=anchored
    )
    found = fitted(guides, estimate, prior=prior, rounds=rounds)
    if problem.draws is None or len(problem.draws) < 2:
        return found
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for draw in problem.draws:
        error = (draw.double() - estimate)[:, mask].T / scale
        signals = estimate.clone()
        signals[:, mask] += (correlated(error, inside, correlation) * scale).T
        noisy = [_with_noise(guide, mask, generator) for guide in guides]
        other = _another_mean(*prior, len(inside), generator), prior[1]
        drawn.append(fitted(noisy, signals, prior=other, rounds=rounds).maps[mask].float())
    deviation = torch.zeros_like(found.maps)
    deviation[mask] = torch.stack(drawn).std(0).double()
    return replace(found, deviation=deviation)


def _related(problem: Problem, scale: Tensor) -> tuple[Tensor, Tensor] | None:
    """Mean and precision of the logarithms of maps in the head, of tissues that go as coarse maps show; or None."""
    domain, measured, mask = problem.domain, problem.measured.double(), problem.mask
    known = (problem.operator.share(mask.double()) > WITHIN) & (measured > 0).all(0)
    if not known.any():
        return None
    coarse = torch.zeros(*known.shape, 3, dtype=torch.float64)
    coarse[known] = domain.invert(measured[:, known].T / scale)
    return density_relation(coarse, known, problem.operator, mask, problem.voxel_mm).with_prior(
        domain.mean, domain.precision
    )


def _another_mean(mean: Tensor, precision: Tensor, voxels: int, generator: torch.Generator) -> Tensor:
    """``(voxels, 3)`` draws of the Gaussian of that mean, ``(3,)`` or one for each voxel, and that precision."""
    unit = torch.randn(voxels, 3, 1, generator=generator, dtype=mean.dtype)
    upper = torch.linalg.cholesky(precision).mT.expand(voxels, 3, 3)
    return mean + torch.linalg.solve_triangular(upper, unit, upper=True)[..., 0]


def _with_noise(guide: WeightedImage, mask: Tensor, generator: torch.Generator) -> WeightedImage:
    noise = torch.randn(guide.image.shape, generator=generator, dtype=torch.float64)
    return replace(guide, image=guide.image.double() + guide.error * _white(guide.image.double()[mask]) * noise)


def _fitted(
    problem: Problem,
    guides: Many[WeightedImage],
    signals: Tensor,
    precision: Tensor,
    scale: Tensor,
    prior: tuple[Tensor, Tensor],
    tied: bool,
    anchored: bool,
    rounds: int,
) -> Sharpened:
    """Maps of signals that were restored, with guides; ``precision`` in units of ``scale``.

    What is ``tied`` to a guide or to a relation takes the signals of the fit; others stay as they were restored.
    """
    measured, operator, mask, domain = problem.measured.double(), problem.operator, problem.mask, problem.domain
    unit = torch.ones(3, dtype=torch.float64)
    unit[DENSITY] = domain.unit(scale)
    if anchored:
        signals = operator.replace(signals, measured)
    alone = signals[:, mask].T / scale  # what is known without guides, in every round the same
    fit_to = partial(fit_maps, prior_mean=prior[0], prior_precision=prior[1])
    fit = fit_to(domain.reference, alone, domain.invert(alone), precision)
    gains = list[Tensor]()
    for _ in range(rounds if guides else 0):
        gains = [_gain_of(guide, fit.maps, problem) for guide in guides]
        shown = [guide.image.double()[mask] / gain[mask] for guide, gain in zip(guides, gains, strict=True)]
        known = torch.stack([(g > 0) * (guide.error * _white(g)) ** -2 for guide, g in zip(guides, shown, strict=True)])
        fit = fit_to(
            Several((*domain.reference.sequences, *(guide.sequence for guide in guides))),
            torch.cat([alone, torch.stack(shown, -1)], -1),
            fit.maps,
            with_guides(precision, known),
        )
    maps = fit.maps
    if tied:
        signals = signals.clone()
        signals[:, mask] = (domain.reference(maps) * scale).T
        signals = operator.replace(signals, measured) if anchored else signals
    if anchored:
        signals, maps = _reconciled(signals, fit, problem, scale)
    whole, error = (torch.zeros(*mask.shape, 3, dtype=torch.float64) for _ in range(2))
    whole[mask] = maps * unit
    error[mask] = maps * fit.covariance.diagonal(dim1=-2, dim2=-1).clamp(min=0).sqrt() * unit
    return Sharpened(whole, error, signals, [gain / unit[DENSITY] for gain in gains])


def _reconciled(signals: Tensor, fit: Fit, problem: Problem, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Signals that maps have and that reproduce what was measured, by projections in turn.

    The replacement may ask for signals that no tissue has; where it does, neighbours along the slice axis take over.
    Where hardly different signals have very different maps, those nearest to the fit are taken. Columns that are done
    are left alone where the operator lets them.
    """
    measured, operator, mask = problem.measured.double(), problem.operator, problem.mask
    reference, largest = problem.domain.reference, measured.flatten(1).amax(1)
    # those of one unit count alike
    largest = torch.where(problem.domain.proportional, problem.domain.unit(largest), largest)
    mean, precision = fit.maps.log(), torch.linalg.inv(fit.covariance)
    number = torch.full(mask.shape, -1)
    number[mask] = torch.arange(len(mean))
    maps, signals = fit.maps.clone(), signals.clone()
    columns = torch.ones(mask.shape[:-1] if operator.by_columns else (), dtype=torch.bool)
    for iteration in range(1 + MOST_PROJECTIONS):
        part = signals[:, columns]
        inside = mask[columns]
        voxels = number[columns][inside]
        around = mean[voxels], precision[voxels]
        found = problem.domain.invert(part[:, inside].T / scale, mean[voxels].exp(), around, iterations=12)
        maps[voxels] = found
        possible = part.clone()
        possible[:, inside] = (reference(found) * scale).T
        off = operator.residual(possible, measured[:, columns]).abs() / largest.view(-1, *[1] * (part.dim() - 1))
        going = off.amax((0, -1)) > ENOUGH if operator.by_columns else off.amax() > ENOUGH
        if iteration == MOST_PROJECTIONS or not bool(going.any()):
            break
        signals[:, columns] = operator.replace(possible, measured[:, columns])
        columns = columns.clone()
        columns[columns.clone()] = going
    return signals, maps


def _white(values: Tensor) -> Tensor:
    """Their 99.5th percentile."""
    return torch.quantile(values[:: max(1, len(values) // 10**6)], 0.995)


def _gain_of(guide: WeightedImage, maps: Tensor, problem: Problem) -> Tensor:
    """The smooth factor between a guide and what its sequence shows of the maps, by local least squares in slices.

    Detail that the maps still lack would make it too small; on the voxels that were measured they lack none.
    """
    operator, mask = problem.operator, problem.mask
    shown = torch.zeros(mask.shape, dtype=torch.float64)
    shown[mask] = guide.sequence(maps)
    expected, seen = operator(shown), operator(torch.where(mask, guide.image.double(), 0.0))
    width = [GAIN_MM / mm for mm in problem.voxel_mm]
    both, alone = (
        ndimage.gaussian_filter(operator.adjoint(expected * other).numpy(), width, mode="nearest")
        for other in (seen, expected)
    )
    floor = 1e-6 * float(alone.max()) or 1.0
    return torch.from_numpy(both / alone.clip(min=floor)).clamp(min=1e-9)
