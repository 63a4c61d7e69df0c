"""A finished volume on isotropic voxels: anti-aliased, and where its voxel centres say."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from focvs.errors import InputError

FWHM = 2.0 * (2.0 * np.log(2.0)) ** 0.5  # of a Gaussian, in standard deviations
MOST_VOXELS = 2**31  # of a file


@dataclass(frozen=True, eq=False)
class IsotropicGrid:
    """Voxels of one size in the field of view of a volume, centred in it.

    Attributes:
        shape: ``(3,)`` voxels.
        affine: ``(4, 4)`` voxel-to-world, mm.
        steps: ``(3,)`` new voxels in old ones.
        start: ``(3,)`` centre of the first new voxel, in old ones.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    steps: np.ndarray
    start: np.ndarray

    @classmethod
    def of(cls, shape: tuple[int, ...], affine: np.ndarray, voxel_mm: float) -> IsotropicGrid:
        """The grid of ``voxel_mm`` that covers a volume to within half a voxel at each side.

        Raises:
            InputError: for a size that leaves less than two voxels along an axis, or far too many.
        """
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        counts = np.rint(np.array(shape) * sizes / voxel_mm)
        if counts.min() < 2 or counts.prod() > MOST_VOXELS:
            raise InputError(f"isotropic={voxel_mm:g} mm makes {' x '.join(f'{c:.0f}' for c in counts)} voxels.")
        steps = voxel_mm / sizes
        start = (np.array(shape) - 1) / 2 - steps * (counts - 1) / 2
        placed = np.array(affine, dtype=float)
        placed[:3, :3] *= steps
        placed[:3, 3] = affine[:3, :3] @ start + affine[:3, 3]
        first, second, third = (int(c) for c in counts)
        return cls((first, second, third), placed, steps, start)

    def __call__(self, volume: np.ndarray, order: int = 3) -> np.ndarray:
        """``(p, q, n)`` on these voxels by splines of ``order``; where they are larger, blurred to their size first.

        The blur is a Gaussian that makes a point as wide as a new voxel of one that is as wide as an old one: FWHMs add
        in squares.
        """
        widths = np.sqrt(np.maximum(self.steps**2 - 1, 0)) / FWHM
        smooth = ndimage.gaussian_filter(volume.astype(np.float32), widths, mode="nearest")
        out = ndimage.affine_transform(smooth, self.steps, self.start, self.shape, order=order, mode="nearest")
        return out.astype(np.float32).clip(volume.min(), volume.max())  # splines overshoot beside edges
