"""Intensities of a scan and units of a prior: the one place where they meet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from torch import Tensor

from focvs.errors import InputError

Array = TypeVar("Array", np.ndarray, Tensor)


@dataclass(frozen=True)
class IntensityUnits:
    """Between the intensities of a scan and prior units, in which zero is -1 and the white level +1.

    Attributes:
        white: the white level, 99.5th percentile of the head, in intensities of the scan; above 0.
    """

    white: float

    def to_prior(self, intensities: Array) -> Array:
        """Intensities to prior units."""
        return intensities * (2 / self.white) - 1

    def from_prior(self, values: Array) -> Array:
        """Prior units to intensities."""
        return (values + 1) * (self.white / 2)

    def noise_to_prior(self, sigma: float) -> float:
        """A standard deviation in intensities to prior units."""
        return sigma * 2 / self.white

    def noise_from_prior(self, sigma: float) -> float:
        """A standard deviation in prior units to intensities."""
        return sigma * self.white / 2


def noise_fraction(noise_prior: float) -> float:
    """A standard deviation in prior units as a fraction of the white level."""
    return noise_prior / 2


def white_level(volume: np.ndarray) -> float:
    """The intensity that becomes +1 in prior units: the 99.5th percentile of voxels above a tenth of it.

    Raises:
        InputError: if no voxel is above zero.
    """
    rough = float(np.percentile(volume, 99.5))
    inside = volume[volume > 0.1 * rough]
    if rough <= 0 or inside.size == 0:
        raise InputError("the volume has no positive intensities; give a magnitude image.")
    return float(np.percentile(inside, 99.5))
