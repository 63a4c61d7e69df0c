"""Signal equations of pulse sequences: proton density, T1 and T2 to intensity, in seconds and radians.

All are differentiable, work voxel by voxel on tensors of any shape, and say magnitudes: Bernstein, King and Zhou,
Handbook of MRI Pulse Sequences, 2004, chapters 14.1 (gradient echo) and 14.3, 16.4 (spin echo, fast spin echo).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

DENSITY, T1, T2 = 0, 1, 2  # the last axis of maps


class Sequence(Protocol):
    """A pulse sequence with its timing.

    Maps are ``(..., 3)``: proton density in any unit, T1 and T2 in seconds, above zero. Signals are ``(...)``, in the
    unit of the proton density.
    """

    def __call__(self, maps: Tensor) -> Tensor: ...


def _decay(time_s: float, constant_s: Tensor) -> Tensor:
    # a number over a tensor is many times as slow in forward-mode differentiation
    return torch.exp(constant_s.new_tensor(-time_s) / constant_s)


@dataclass(frozen=True)
class SpinEcho:
    """Spin echo, or fast spin echo at its effective echo time.

    S = PD (1 - 2 exp(-(TR - TE/2) / T1) + exp(-TR / T1)) exp(-TE / T2)

    Attributes:
        tr_s: repetition time.
        te_s: echo time.
    """

    tr_s: float
    te_s: float

    def __call__(self, maps: Tensor) -> Tensor:
        t1 = maps[..., T1]
        recovered = 1 - 2 * _decay(self.tr_s - self.te_s / 2, t1) + _decay(self.tr_s, t1)
        return maps[..., DENSITY] * recovered * _decay(self.te_s, maps[..., T2])


@dataclass(frozen=True)
class InversionRecovery:
    """An inversion before a (fast) spin echo, as in FLAIR: the magnitude.

    S = PD |1 - (1 + e) exp(-TI / T1) + e exp(-TR / T1)| exp(-TE / T2), e the efficiency of the inversion

    Attributes:
        tr_s: repetition time.
        te_s: echo time.
        ti_s: from the inversion to the excitation.
        efficiency: 1 for a perfect inversion.
    """

    tr_s: float
    te_s: float
    ti_s: float
    efficiency: float = 1.0

    def __call__(self, maps: Tensor) -> Tensor:
        t1, e = maps[..., T1], self.efficiency
        recovered = 1 - (1 + e) * _decay(self.ti_s, t1) + e * _decay(self.tr_s, t1)
        return maps[..., DENSITY] * recovered.abs() * _decay(self.te_s, maps[..., T2])


@dataclass(frozen=True)
class SpoiledGradientEcho:
    """Spoiled gradient echo in its steady state (Ernst and Anderson 1966); T2 stands for T2*.

    S = PD sin(a) (1 - E) / (1 - cos(a) E) exp(-TE / T2), E = exp(-TR / T1)

    Attributes:
        tr_s: repetition time.
        te_s: echo time.
        flip_rad: flip angle a.
    """

    tr_s: float
    te_s: float
    flip_rad: float

    def __call__(self, maps: Tensor) -> Tensor:
        e = _decay(self.tr_s, maps[..., T1])
        steady = math.sin(self.flip_rad) * (1 - e) / (1 - math.cos(self.flip_rad) * e)
        return maps[..., DENSITY] * steady * _decay(self.te_s, maps[..., T2])


@dataclass(frozen=True)
class Mprage:
    """Inversion, a train of spoiled gradient echoes, and a delay, over and over: MPRAGE at the centre of k-space.

    Between pulses longitudinal magnetisation relaxes, M -> 1 - (1 - M) exp(-t / T1), and each pulse leaves M cos(a).
    What is left before the inversion is the fixed point of a whole cycle (Deichmann et al., NeuroImage 2000).

    Attributes:
        tr_s: from inversion to inversion.
        te_s: echo time.
        ti_s: from the inversion to the pulse at the centre of k-space.
        flip_rad: flip angle a of the train.
        spacing_s: from pulse to pulse of the train.
        pulses: of the train.
        before: pulses before that at the centre of k-space; half of them where it is None.
        efficiency: of the inversion, 1 for a perfect one.

    Raises:
        ValueError: where the train does not fit between inversions.
    """

    tr_s: float
    te_s: float
    ti_s: float
    flip_rad: float
    spacing_s: float
    pulses: int
    before: int | None = None
    efficiency: float = 1.0

    def __post_init__(self) -> None:
        if self.delay_s < 0 or self.rest_s < 0:
            raise ValueError(
                f"{self.pulses} pulses every {1000 * self.spacing_s:g} ms around {self.ti_s:g} s do not fit into "
                f"{self.tr_s:g} s between inversions."
            )

    @property
    def central(self) -> int:
        """Pulses before that at the centre of k-space."""
        return self.pulses // 2 if self.before is None else self.before

    @property
    def delay_s(self) -> float:
        """From the inversion to the first pulse."""
        return self.ti_s - self.central * self.spacing_s

    @property
    def rest_s(self) -> float:
        """From the last pulse to the next inversion."""
        return self.tr_s - self.delay_s - (self.pulses - 1) * self.spacing_s

    def __call__(self, maps: Tensor) -> Tensor:
        t1 = maps[..., T1]
        turn, step = math.cos(self.flip_rad), _decay(self.spacing_s, t1)
        steady = (1 - step) / (1 - turn * step)  # where the train would settle, before a pulse

        def train(count: int) -> tuple[Tensor, Tensor]:
            """M before pulse ``count`` (from 0) is the first plus the second times M before pulse 0."""
            factor = (turn * step) ** count
            return steady * (1 - factor), factor

        # one cycle, from M before the inversion to M before the next: offset + factor * M
        first = _decay(self.delay_s, t1)
        offset, factor = 1 - first, -self.efficiency * first
        added, kept = train(self.pulses - 1)
        offset, factor = added + kept * offset, kept * factor
        rest = turn * _decay(self.rest_s, t1)
        offset, factor = 1 - _decay(self.rest_s, t1) + rest * offset, rest * factor
        before = offset / (1 - factor)

        added, kept = train(self.central)
        longitudinal = added + kept * (1 - first - self.efficiency * first * before)
        shown = math.sin(self.flip_rad) * longitudinal.abs() * _decay(self.te_s, maps[..., T2])
        return maps[..., DENSITY] * shown


@dataclass(frozen=True)
class MultiEcho:
    """Spin echoes of one excitation: signals ``(..., echoes)``.

    S = PD (1 - exp(-(TR - TE of the last) / T1)) exp(-TE / T2), as nothing recovers while it is refocused

    Attributes:
        tr_s: repetition time.
        te_s: echo times, rising.
    """

    tr_s: float
    te_s: tuple[float, ...]

    def __call__(self, maps: Tensor) -> Tensor:
        recovered = maps[..., DENSITY] * (1 - _decay(self.tr_s - self.te_s[-1], maps[..., T1]))
        return torch.stack([recovered * _decay(te, maps[..., T2]) for te in self.te_s], dim=-1)


@dataclass(frozen=True)
class Several:
    """Several sequences, a signal each: ``(..., k)``.

    Attributes:
        sequences: in order.
    """

    sequences: tuple[Sequence, ...]

    def __call__(self, maps: Tensor) -> Tensor:
        return torch.stack([sequence(maps) for sequence in self.sequences], dim=-1)


def jacobian(sequence: Sequence, maps: Tensor) -> tuple[Tensor, Tensor]:
    """Signals and how they change with proton density, T1 and T2, by forward-mode differentiation.

    Args:
        sequence: one, or several.
        maps: ``(..., 3)``.

    Returns:
        Signals ``(...)`` or ``(..., k)``, and their derivatives with a last axis of 3.
    """
    columns = []
    signal = None
    for k in range(3):
        tangent = torch.zeros_like(maps)
        tangent[..., k] = 1
        signal, column, *_ = torch.func.jvp(sequence, (maps,), (tangent,))
        columns.append(column)
    assert signal is not None
    return signal, torch.stack(columns, dim=-1)
