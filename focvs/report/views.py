"""Volumes as viewers show them: turned so that axes point right, to the front and up, with a window of intensities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import nibabel as nib
import numpy as np

PLANES = {"axial": 2, "coronal": 1, "sagittal": 0}  # and the axis that is the same all over each
SIDES = ("LR", "PA", "IS")  # of the axes, low and high
TISSUE = 0.1  # of the 99.5th percentile, above which a voxel is taken for tissue
WHITE_PERCENTILE = 98.5  # of tissue that is shown as white: little of it saturates, whatever the contrast
MOST_ABOVE_MIDDLE = 2.0  # times the median of tissue that white may be: fat saturates, the brain shows
DEVIATION_PERCENTILE = 99.5
FEW = 300_000  # values of a volume that percentiles are found from


@dataclass(frozen=True, eq=False)
class View:
    """How arrays on the voxels of an affine are turned to the nearest anatomical axes.

    Attributes:
        affine: ``(4, 4)`` voxel-to-world, mm.
    """

    affine: np.ndarray

    @cached_property
    def _orientation(self) -> np.ndarray:
        return nib.io_orientation(self.affine)

    @property
    def zooms_mm(self) -> np.ndarray:
        """``(3,)`` voxel sizes of the turned array."""
        sizes = np.empty(3)
        sizes[self._orientation[:, 0].astype(int)] = nib.affines.voxel_sizes(self.affine)
        return sizes

    def source_of(self, turned: int) -> int:
        """The axis of the array that becomes an axis of the turned one."""
        return int(np.flatnonzero(self._orientation[:, 0] == turned)[0])

    def axis_of(self, source: int) -> int:
        """The axis of the turned array that an axis becomes."""
        return int(self._orientation[source, 0])

    def flipped(self, source: int) -> bool:
        """Whether an axis of the array runs the other way when turned."""
        return bool(self._orientation[source, 1] < 0)

    def __call__(self, volume: np.ndarray) -> np.ndarray:
        """The turned array: a view of the same memory, axes to the right, to the front and up."""
        return nib.apply_orientation(volume, self._orientation)

    def turned_affine(self, shape: tuple[int, ...]) -> np.ndarray:
        """``(4, 4)`` voxel-to-world of a turned array whose shape before was ``shape``."""
        return self.affine @ nib.orientations.inv_ornt_aff(self._orientation, shape)


def plane(turned: np.ndarray, axis: int, index: int) -> np.ndarray:
    """A plane ``(rows, columns)`` of a turned volume, its first row the lowest."""
    return turned[(slice(None),) * axis + (index,)].T


@dataclass(frozen=True, eq=False)
class Tile:
    """A plane to be drawn.

    Attributes:
        pixels: ``(rows, columns)``, the first row the lowest.
        pixel_mm: height and width of a pixel.
        sides: letters of the left and the right side.
    """

    pixels: np.ndarray
    pixel_mm: tuple[float, float]
    sides: str

    @classmethod
    def of(cls, turned: np.ndarray, zooms_mm: np.ndarray, axis: int, index: int) -> Tile:
        """The plane ``index`` across an axis of a turned volume, whose voxels have the sizes ``zooms_mm``."""
        across, up = (a for a in range(3) if a != axis)
        return cls(plane(turned, axis, index), (float(zooms_mm[up]), float(zooms_mm[across])), SIDES[across])


def few_of(volume: np.ndarray) -> np.ndarray:
    """About :data:`FEW` values from all over a volume, for percentiles that pictures are drawn with."""
    values = volume.reshape(-1)
    step = max(1, values.size // FEW)
    while step > 1 and math.gcd(step, volume.shape[-1]) > 1:  # so that no column of voxels is left out
        step += 1
    return values[::step]


def window_of(volume: np.ndarray) -> tuple[float, float]:
    """Intensities shown as black and white: 0, or the lowest 0.5 % where a volume has negative ones, to near the top.

    White is the 98.5th percentile of tissue, or twice its median where that is lower.

    Args:
        volume: any shape; what is above a tenth of its 99.5th percentile is tissue.
    """
    volume = few_of(volume)
    rough = float(np.percentile(volume, 99.5))
    tissue = volume[volume > TISSUE * rough] if rough > 0 else volume
    high = 1.0
    if tissue.size:
        middle, top = (float(v) for v in np.percentile(tissue, (50, WHITE_PERCENTILE)))
        high = min(top, MOST_ABOVE_MIDDLE * middle) if middle > 0 else top
    low = min(0.0, float(np.percentile(volume, 0.5)))
    return low, high if high > low else low + 1.0


def deviation_window(volume: np.ndarray) -> tuple[float, float]:
    """The same of a standard deviation: 0 to the 99.5th percentile of what is above 0."""
    volume = few_of(volume)
    shown = volume[volume > 0]
    return 0.0, float(np.percentile(shown, DEVIATION_PERCENTILE)) if shown.size else 1.0


def middle_of(turned: np.ndarray, white: float) -> np.ndarray:
    """``(3,)`` voxel in the middle of what is tissue: the median along each axis."""
    inside = turned > TISSUE * white
    if not inside.any():
        return np.array(turned.shape) // 2
    found = []
    for axis in range(3):
        counts = np.count_nonzero(inside, axis=tuple(a for a in range(3) if a != axis)).cumsum()
        found.append(int(np.searchsorted(counts, counts[-1] / 2)))
    return np.array(found)
