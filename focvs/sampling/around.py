"""The scan as a sampler of residuals knows it: replacement in the volume, seen from around its mean."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from focvs.sampling.consistency import Measured


@dataclass(frozen=True, eq=False)
class MeasuredAround(Measured):
    """A rule and the scan for residuals r of the volumes m + s r, of order one.

    Attributes:
        mean: ``(p, q, n)`` m, prior units.
        scale: ``(p, q, n)`` s, prior units, nowhere zero.
    """

    mean: Tensor
    scale: Tensor

    def replace(self, denoised: Tensor, level: int) -> Tensor:
        """r' = (x' - m) / s, where x' is m + s r with the scan replaced."""
        volume = self.mean + self.scale * denoised
        return denoised + (self.rule.replace(volume, self.scan, level) - volume) / self.scale

    def draw(self, denoised: Tensor, level: int, noise: Tensor, scan_noise: Tensor) -> Tensor:
        """A draw about r', likewise; its noise is that of the rule, in the volume."""
        volume = self.mean + self.scale * denoised
        return (self.rule.draw(volume, self.scan, level, noise, scan_noise) - self.mean) / self.scale
