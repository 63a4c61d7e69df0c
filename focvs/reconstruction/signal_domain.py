"""The signals that maps of a head, or images of it, are worked on as: partial volume is linear in them."""

from __future__ import annotations

import math
from collections.abc import Sequence as Many
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from focvs.acquisition.tissue_head import TISSUES
from focvs.errors import InputError
from focvs.signal.fitting import USUAL, fit_maps
from focvs.signal.sequences import DENSITY, Sequence, Several, SpinEcho, SpoiledGradientEcho, jacobian

Found = tuple[bool, bool, bool]
Kind = Literal["signal", "map"]

LONG_S = 1e4  # a repetition time that leaves nothing of T1
BRAIN = TISSUES[:4]
SPREAD = 0.3  # of the logarithms, that tissues may be off the line that fluid, grey and white matter lie on
MOST_CONDITION = 60.0  # of images; that of the signals that stand for maps is 30
EXACTLY = 1e6  # inverse variance of signals as shares of their means, where maps are read off them


@dataclass(frozen=True)
class OneMap:
    """A map itself, in place of a signal.

    Attributes:
        index: 0 proton density, 1 T1, 2 T2.
    """

    index: int

    def __call__(self, maps: Tensor) -> Tensor:
        return maps[..., self.index]


@dataclass(frozen=True)
class UnitDensity:
    """What a sequence would show if proton density were 1 everywhere, for maps that come without one.

    Attributes:
        sequence: of any kind.
    """

    sequence: Sequence

    def __call__(self, maps: Tensor) -> Tensor:
        return self.sequence(torch.cat([torch.ones_like(maps[..., :1]), maps[..., 1:]], -1))


@dataclass(frozen=True, eq=False)
class Domain:
    """Signals that determine the maps that are found.

    Attributes:
        reference: ``k`` signals of ``(..., 3)`` maps.
        found: whether proton density, T1 and T2 are determined by them.
        proportional: ``(k,)`` whether a signal is in the unit of the proton density.
        mean: ``(3,)`` logarithms of the maps of a brain.
        precision: ``(3, 3)`` inverse covariance of those over its tissues, widened: what is known of maps that signals
            do not determine.
    """

    reference: Several
    found: Found
    proportional: Tensor
    mean: Tensor
    precision: Tensor

    def unit(self, white: Tensor) -> float:
        """Of the density: the largest of the white levels ``(k,)`` of signals that are in its unit, or 1."""
        return float(white[self.proportional].max()) if bool(self.proportional.any()) else 1.0

    def scale(self, white: Tensor) -> Tensor:
        """``(k,)`` units of the signals: that of the density, or 1."""
        return torch.where(self.proportional, self.unit(white), 1.0).double()

    def invert(
        self,
        signals: Tensor,
        start: Tensor = USUAL,
        around: tuple[Tensor, Tensor] | None = None,
        iterations: int = 40,
    ) -> Tensor:
        """``(voxels, 3)`` maps whose signals are the given ``(voxels, k)``, as far as there are such maps.

        Args:
            signals: in their units.
            start: ``(3,)`` or ``(voxels, 3)`` where the search begins.
            around: mean ``(voxels, 3)`` and precision ``(voxels, 3, 3)`` of the logarithms, which decide where signals
                of hardly any difference have very different maps; those of tissues without it.
            iterations: at most.
        """
        weights = EXACTLY * signals.abs().mean(0).clamp(min=1e-9) ** -2
        mean, precision = (self.mean, self.precision) if around is None else around
        return fit_maps(self.reference, signals, start, weights, precision, mean, iterations=iterations).maps

    def maps_of(self, signals: Tensor) -> Tensor:
        """``(voxels, 3)`` maps, the density in the unit of the ``(voxels, k)`` signals."""
        white = signals.amax(0)
        maps = self.invert(signals / self.scale(white))
        maps[:, DENSITY] *= self.unit(white)
        return maps

    @property
    def of_signals(self) -> bool:
        """Whether all three maps are found, of signals and not of themselves."""
        return all(self.found) and not any(isinstance(s, OneMap) for s in self.reference.sequences)

    @property
    def condition_number(self) -> float:
        """How much less the signals say of one map than of another, of grey or white matter, whichever is worse.

        The largest over the smallest singular value of the derivatives of the signals, as shares of the largest one,
        by the logarithms of the maps that are found.
        """
        return max(self._condition(maps) for maps in _brain()[1:3])

    def _condition(self, maps: Tensor) -> float:
        shown, derivative = jacobian(self.reference, maps)
        relative = (derivative * maps / shown.abs().max())[:, torch.tensor(self.found)]
        values = torch.linalg.svdvals(relative)
        enough = len(self.reference.sequences) >= sum(self.found) and float(values[-1]) > 0
        return float(values[0] / values[-1]) if enough else math.inf


def domain_of_maps(found: Found, kind: Kind = "signal") -> Domain:
    """The domain of one, two or three maps.

    Of all three: two spin echoes and a gradient echo, weighted by proton density, T2 and T1; none changes sign, so that
    magnitudes lose nothing. Where a map is missing no signal depends on it: echo times are zero without T2, repetition
    times long without T1, the proton density one without that.

    Args:
        found: which of proton density, T1 and T2 there are.
        kind: ``map`` takes the maps themselves in place of signals.

    Raises:
        ValueError: for none.
    """
    if not any(found):
        raise ValueError("give at least one map.")
    density, t1, t2 = found
    if kind == "map":
        indices = [k for k in range(3) if found[k]]
        return _domain([OneMap(k) for k in indices], found, [k == DENSITY for k in indices])
    early, tr_s = (0.015 if t2 else 0.0), (5.0 if t1 else LONG_S)
    sequences: list[Sequence] = []
    if density:
        sequences.append(SpinEcho(tr_s, early))
    if t2:
        sequences.append(SpinEcho(tr_s, 0.1))
    if t1:
        sequences.append(SpoiledGradientEcho(0.018, 0.003 if t2 else 0.0, math.radians(20)))
    if not density:
        sequences = [UnitDensity(sequence) for sequence in sequences]
    return _domain(sequences, found, [density] * len(sequences))


def domain_of_images(sequences: Many[Sequence]) -> Domain:
    """The domain of weighted images of one unit.

    Raises:
        InputError: if their protocols cannot tell proton density, T1 and T2 apart.
    """
    domain = _domain(list(sequences), (True, True, True), [True] * len(sequences))
    condition = domain.condition_number
    if condition > MOST_CONDITION:
        raise InputError(
            f"the protocols of images= cannot tell proton density, T1 and T2 apart (condition number {condition:.3g}, "
            f"at most {MOST_CONDITION:g}); give at least three images that differ in both T1 and T2 weighting."
        )
    return domain


def _domain(sequences: list[Sequence], found: Found, proportional: list[bool]) -> Domain:
    logs = _brain().log()
    precision = torch.linalg.inv(torch.cov(logs.T) + SPREAD**2 * torch.eye(3, dtype=torch.float64))
    return Domain(Several(tuple(sequences)), found, torch.tensor(proportional), logs.mean(0), precision)


def _brain() -> Tensor:
    """``(4, 3)`` maps of fluid, grey and white matter, and deep grey matter."""
    return torch.tensor([[t.proton_density, t.t1_s, t.t2_s] for t in BRAIN], dtype=torch.float64)


REFERENCE = domain_of_maps((True, True, True)).reference
