"""In-plane pixels finer than the prior knows or the scan resolves, averaged into working ones."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from focvs.scan.scan import Scan
from focvs.scan.zero_filling import averaging_factor, resolved_fraction

TOLERANCE = 0.8  # working pixels may be as fine as this part of the finest the prior knows
LEAST_SPACING = 1.5  # of the slices, in working pixels
ROUNDING = 0.05  # of a resolution that is just short of a whole number of pixels


@dataclass(frozen=True)
class PixelGrid:
    """How acquired pixels are averaged into working ones.

    Attributes:
        factors: acquired pixels in a working one along p and q.
        shape: acquired pixels along p and q.
    """

    factors: tuple[int, int]
    shape: tuple[int, int]

    @classmethod
    def for_range(cls, scan: Scan, spacing_mm: float, voxel_range_mm: tuple[float, float] | None) -> PixelGrid:
        """The smallest factors whose working pixels are about as coarse as the prior knows and the scan resolves.

        Factors are whole numbers. Where zero filling is by less than 2 along one axis, restoring on the acquired matrix
        is worse than on the filled one (two heads, 4 mm slices, 0.72 of k-space: by 0.09 and 0.17 dB), because acquired
        pixels are oblong and the prior was trained on filled ones.

        Args:
            scan: as acquired; where its k-space was filled with zeros, pixels hold less than they seem to.
            spacing_mm: of the slices, which working pixels stay well below.
            voxel_range_mm: pixels the prior knows; None where that is not known.
        """
        if voxel_range_mm is None:
            return cls((1, 1), (scan.data.shape[0], scan.data.shape[1]))
        coarsest = min(voxel_range_mm[1], spacing_mm / LEAST_SPACING)
        factors = []
        for size, resolved in zip(scan.in_plane_mm, resolved_mm(scan), strict=True):
            wanted = max(math.ceil(TOLERANCE * voxel_range_mm[0] / size), int(resolved / size + ROUNDING))
            factors.append(max(1, min(wanted, int(coarsest / size))))
        return cls((factors[0], factors[1]), (scan.data.shape[0], scan.data.shape[1]))

    @property
    def trivial(self) -> bool:
        """Whether working pixels are the acquired ones."""
        return self.factors == (1, 1)

    def pixels_mm(self, scan: Scan) -> tuple[float, float]:
        """Working pixels along p and q."""
        return scan.in_plane_mm[0] * self.factors[0], scan.in_plane_mm[1] * self.factors[1]

    def average(self, image: Tensor) -> Tensor:
        """``(p, q, ...)`` to working pixels; beyond the edge the last pixel continues."""
        for axis, factor in enumerate(self.factors):
            spare = -image.shape[axis] % factor
            last = image.narrow(axis, image.shape[axis] - 1, 1)
            image = torch.cat([image, *[last] * spare], dim=axis)
            image = image.unflatten(axis, (-1, factor)).mean(axis + 1)
        return image

    def upsample(self, image: np.ndarray, order: int = 3) -> np.ndarray:
        """Spline of ``order`` from working pixels ``(p', q', n)`` to acquired ones ``(p, q, n)``, centres in place."""
        fine = ndimage.zoom(image, (*self.factors, 1), order=order, mode="nearest", grid_mode=True)
        return fine[: self.shape[0], : self.shape[1]]


def resolved_mm(scan: Scan) -> tuple[float, float]:
    """In-plane resolution along p and q: the pixel size, or more where k-space was filled with zeros."""
    data = torch.from_numpy(scan.data)
    first, second = (size / resolved_fraction(data, axis) for axis, size in enumerate(scan.in_plane_mm))
    return first, second


def noise_factor(scan: Scan, grid: PixelGrid) -> float:
    """Standard deviation of the noise of working pixels over that of acquired ones."""
    return math.prod(
        averaging_factor(factor, size / resolved)
        for factor, size, resolved in zip(grid.factors, scan.in_plane_mm, resolved_mm(scan), strict=True)
    )


def coarsen(scan: Scan, grid: PixelGrid) -> Scan:
    """The scan on working pixels, its affine that of their centres."""
    if grid.trivial:
        return scan
    data = grid.average(torch.from_numpy(scan.data)).numpy()
    affine = scan.affine.copy()
    for axis, factor in enumerate(grid.factors):
        affine[:3, 3] += (factor - 1) / 2 * affine[:3, axis]
        affine[:3, axis] *= factor
    sizes = grid.pixels_mm(scan)
    acquired, working = (" x ".join(f"{v:.3g}" for v in pair) for pair in (scan.in_plane_mm, sizes))
    warning = (
        f"pixels of {acquired} mm are finer than the prior knows or the scan resolves: slices were restored on pixels "
        f"of {working} mm, and finer detail is that of the slices themselves, interpolated between them."
    )
    return replace(scan, data=data, affine=affine, warnings=(*scan.warnings, warning))
