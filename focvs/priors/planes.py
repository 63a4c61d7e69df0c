"""A 2D denoiser on a volume: slices of the planes that contain the slice axis, fused at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from focvs.priors.denoiser import Denoiser
from focvs.priors.networks import ScanCondition

PIXELS_PER_BATCH = 300_000  # about 32 patches of 96 x 96: large enough to fill two cores, small in memory


@dataclass(frozen=True)
class PlaneDenoiser:
    """Denoises ``(b, p, q, n)`` volumes slice by slice in one plane.

    Attributes:
        denoise: 2D denoiser of ``(slices, 1, h, w)``; where ``acquisition`` is given it takes a condition too.
        across: the volume axis (0 for p, 1 for q) that counts the slices; the plane holds the other one and n.
        window: range of the last axis that is computed; None is all.
        background: ``(p, q, n)`` the interpolated scan, used outside ``window`` and told to a conditioned prior.
        acquisition: thickness and spacing in voxels and noise, for a conditioned prior; None for others.
        flips: axes of a slice (-2, -1) that are reversed for the network.
    """

    denoise: Callable[..., Tensor]
    across: int
    window: slice | None = None
    background: Tensor | None = None
    acquisition: tuple[float, float, float] | None = None
    flips: tuple[int, ...] = ()

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        slices = self._slices(x)
        known = None
        if self.acquisition is not None:
            if self.background is None:
                raise ValueError("a conditioned prior needs the interpolated scan as background.")
            known = self._slices(self.background.to(x).expand_as(x))
        parts = []
        size = max(1, PIXELS_PER_BATCH // slices[0].numel())
        for first in range(0, len(slices), size):
            some = slices[first : first + size].flip(self.flips).contiguous()
            if known is None:
                part = self.denoise(some, sigma)
            else:
                part = self.denoise(some, sigma, self._condition(known[first : first + size].flip(self.flips)))
            parts.append(part.flip(self.flips))
        window = self.window or slice(None)
        shape = x[..., window].movedim(1 + self.across, 1).shape
        denoised = torch.cat(parts).view(shape).movedim(1, 1 + self.across)
        if self.window is None:
            return denoised
        out = x.clone() if self.background is None else self.background.to(x).expand_as(x).clone()
        out[..., window] = denoised
        return out

    def _slices(self, volume: Tensor) -> Tensor:
        part = volume[..., self.window or slice(None)].movedim(1 + self.across, 1)
        return part.reshape(-1, 1, *part.shape[-2:])

    def _condition(self, known: Tensor) -> ScanCondition:
        assert self.acquisition is not None
        numbers = [known.new_full((len(known),), number) for number in self.acquisition]
        return ScanCondition(known.contiguous(), *numbers)


@dataclass(frozen=True)
class AveragedPlanes:
    """The mean of several plane denoisers at every step."""

    members: Sequence[Denoiser]

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        total = self.members[0](x, sigma)
        for member in self.members[1:]:
            total = total + member(x, sigma)
        return total / len(self.members)


@dataclass(frozen=True)
class AlternatedPlanes:
    """One plane denoiser per level, in turn: two planes take half the time of averaging them.

    ``sigmas`` is the schedule: the level of a call is found from its noise level.
    """

    members: Sequence[Denoiser]
    sigmas: Tensor

    def __call__(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        level = int((self.sigmas - float(sigma)).abs().argmin())
        return self.members[level % len(self.members)](x, sigma)


def mirrored_in_turn(planes: Sequence[PlaneDenoiser]) -> list[PlaneDenoiser]:
    """The planes in turn, each time through another mirror, for a prior that was trained on mirrored slices.

    What the network does to one side of a slice and not the other then averages out over the levels.
    """
    mirrors: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
    turns = []
    for i in range(len(mirrors)):
        for j, plane in enumerate(planes):
            turns.append(replace(plane, flips=mirrors[(i + j) % len(mirrors)]))
    return turns
