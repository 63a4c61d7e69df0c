"""The condition of a network: the interpolated scan and three numbers of its acquisition."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from focvs.acquisition.degradation import Degradation


class ScanNumbers(NamedTuple):
    """An acquisition in three numbers, as a network is told of it.

    Attributes:
        thickness_px: FWHM of the slice profile in pixels.
        spacing_px: distance of slice centres in pixels.
        noise: standard deviation of the scan's noise, prior units.
    """

    thickness_px: float
    spacing_px: float
    noise: float


@dataclass(frozen=True, eq=False)
class ScanCondition:
    """What a conditioned network is told about the scan behind each image, the slice axis last.

    Attributes:
        image: ``(b, s, h, w)`` slabs, or ``(b, 1, x, y, z)``, as the images: the scan interpolated to their grid,
            prior units; zero where unknown.
        thickness_px: ``(b,)`` FWHM of the slice profile in pixels.
        spacing_px: ``(b,)`` distance of slice centres in pixels; 0 where there is no scan.
        noise: ``(b,)`` standard deviation of the scan's noise, prior units.
    """

    image: Tensor
    thickness_px: Tensor
    spacing_px: Tensor
    noise: Tensor

    @classmethod
    def unknown(cls, like: Tensor) -> ScanCondition:
        """No scan, for the images ``like``: an unconditional prior."""
        zero = like.new_zeros(len(like))
        return cls(torch.zeros_like(like), zero, zero, zero)

    @classmethod
    def of(cls, image: Tensor, numbers: ScanNumbers) -> ScanCondition:
        """The same ``numbers`` for every item of ``image``."""
        return cls(image, *(image.new_full((len(image),), number) for number in numbers))

    @classmethod
    def simulated(
        cls, acquisition: Degradation, images: Tensor, noise_sigma: float = 0.0, noise: Tensor | None = None
    ) -> ScanCondition:
        """The scan ``acquisition`` makes of ``images`` ``(b, c, ..., n)`` with unit ``noise`` ``(b, c, ..., m)``."""
        image = acquisition.interpolated(images, noise_sigma, noise)
        return cls.of(image, ScanNumbers(acquisition.thickness_px, acquisition.spacing_px, noise_sigma))

    def some(self, items: slice) -> ScanCondition:
        """What is told of some of the images."""
        return ScanCondition(self.image[items], self.thickness_px[items], self.spacing_px[items], self.noise[items])

    def numbers(self) -> Tensor:
        """``(b, 3)`` of order one: thickness and spacing over 8 pixels, ten times the noise."""
        return torch.stack([self.thickness_px / 8, self.spacing_px / 8, 10 * self.noise], dim=1)


def require_background(numbers: ScanNumbers | None, background: Tensor | None) -> None:
    """Refuse to tell a network of a scan that is not there.

    Raises:
        ValueError: for numbers without the interpolated scan.
    """
    if numbers is not None and background is None:
        raise ValueError("a conditioned prior needs the interpolated scan as background.")


def middle(slab: Tensor) -> Tensor:
    """The slice ``(b, 1, ...)`` of slabs ``(b, s, ...)``."""
    return slab[:, slab.shape[1] // 2].unsqueeze(1)
