"""Replacement from several stacks of one head: each in turn at every level, the first one last and exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from focvs.acquisition.resident import resident
from focvs.acquisition.stack_operator import StackOperator
from focvs.sampling.consistency import Consistency


@dataclass(frozen=True, eq=False)
class OtherStack:
    """A further stack.

    Attributes:
        operator: what it makes of the volume.
        slices: ``(p', q', m')`` in prior units.
        rule: its own replacement, along its own slice axis.
    """

    operator: StackOperator
    slices: Tensor
    rule: Consistency
    _places: dict[int, Tensor] = field(default_factory=dict, repr=False)

    def shuffle(self, count: int, number: int) -> Tensor:
        """``(p', q', m')`` random places among ``count``, the same for a number: white noise, by means of other."""
        if count not in self._places:
            generator = torch.Generator().manual_seed(number)
            self._places[count] = torch.randint(count, self.slices.shape, generator=generator)
        return self._places[count]

    def replace(self, volume: Tensor, level: int, noise: Tensor | None = None) -> Tensor:
        """x + R^+ P^+ K_t (y - B x) of one volume ``(p, q, n)``; ``noise`` is added to y."""
        y = resident(self.slices, volume)
        y = y if noise is None else y + noise
        return volume + self.operator.back(self.rule.correction(self.operator.residual(volume, y), level))


@dataclass
class AlternatingConsistency:
    """Alternating replacement (Kaczmarz 1937, a block for each stack): what every scan knows, at every level.

    Args:
        first: rule of the first stack, whose grid the volume is on.
        others: the further ones.
    """

    first: Consistency
    others: Sequence[OtherStack]
    renoise: None = field(default=None, init=False)

    def replace(self, denoised: Tensor, scan: Tensor, level: int) -> Tensor:
        """As :meth:`focvs.sampling.consistency.Consistency.replace`; ``denoised`` is ``(b, p, q, n)``."""
        return self.first.replace(torch.stack([self._others(item, level) for item in denoised.float()]), scan, level)

    def draw(self, denoised: Tensor, scan: Tensor, level: int, noise: Tensor, scan_noise: Tensor) -> Tensor:
        """As :meth:`focvs.sampling.consistency.Consistency.draw`; noise of the others is a function of ``noise``."""
        perturbed = self.first.perturb(denoised, level, noise)
        items = [self._others(x, level, unit) for x, unit in zip(perturbed.float(), noise, strict=True)]
        return self.first.replace(torch.stack(items), scan + self.first.noise_sigma * scan_noise, level)

    def prepare(self, like: Tensor, levels: int) -> None:
        """Lay the gains, slices and random places of every stack on the device of ``like``, one volume ``(p, q, n)``.

        What a stack turned against the first one is resampled by is made at every step.
        """
        self.first.prepare(like, levels)
        for number, stack in enumerate(self.others):
            y = resident(stack.slices, like)
            for level in range(levels):
                stack.rule.correction(y, level)
            resident(stack.shuffle(like.numel(), number), like, keep_type=True)

    def _others(self, volume: Tensor, level: int, unit: Tensor | None = None) -> Tensor:
        for number, stack in enumerate(self.others):
            noise = None
            if unit is not None:
                drawn = resident(stack.shuffle(unit.numel(), number), unit, keep_type=True)
                noise = stack.rule.noise_sigma * unit.flatten()[drawn]
            volume = stack.replace(volume, level, noise)
        return volume
