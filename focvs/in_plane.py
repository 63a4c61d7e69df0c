"""Pixels finer than the prior knows or the scan resolves: restored on coarser ones, with every slice's own detail."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy import ndimage
from scipy.interpolate import make_interp_spline
from torch import Tensor

from focvs.acquisition.interpolation import spline_matrix
from focvs.acquisition.zero_filling import averaging_gain, resolved_fraction
from focvs.forward_model import Acquisition, blank_voxels, hold
from focvs.volume import Scan

TOLERANCE = 0.8  # working pixels may be as fine as this part of the finest the prior knows
LEAST_SPACING = 1.5  # of the slices, in working pixels
ROUNDING = 0.05  # of a resolution that is just short of a whole number of pixels
SLAB = 16  # rows of pixels refined at once


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
        """Just so many that no working pixel is much finer than the prior knows or the scan resolves, but none coarser.

        Whole numbers only: of a scan zero-filled by less than 2 along one axis, the matrix that was acquired is
        restored worse than the filled one (two heads, 4 mm slices, 0.72 of k-space: by 0.09 and 0.17 dB), since its
        pixels are oblong, and the prior has seen filled ones.

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

    def average(self, image: Tensor) -> Tensor:
        """``(p, q, ...)`` to working pixels; beyond the edge the last pixel continues."""
        for axis, factor in enumerate(self.factors):
            spare = -image.shape[axis] % factor
            last = image.narrow(axis, image.shape[axis] - 1, 1)
            image = torch.cat([image, *[last] * spare], dim=axis)
            image = image.unflatten(axis, (-1, factor)).mean(axis + 1)
        return image

    def spread(self, image: np.ndarray, order: int = 3) -> np.ndarray:
        """Spline of ``order`` from working pixels ``(p', q', n)`` to acquired ones ``(p, q, n)``, centres in place."""
        fine = ndimage.zoom(image, (*self.factors, 1), order=order, mode="nearest", grid_mode=True)
        return fine[: self.shape[0], : self.shape[1]]


def resolved_mm(scan: Scan) -> tuple[float, float]:
    """In-plane resolution along p and q: the pixel size, or more where k-space was filled with zeros."""
    data = torch.from_numpy(scan.data)
    first, second = (size / resolved_fraction(data, axis) for axis, size in enumerate(scan.in_plane_mm))
    return first, second


def noise_gain(scan: Scan, grid: PixelGrid) -> float:
    """Standard deviation of the noise of working pixels over that of acquired ones."""
    return math.prod(
        averaging_gain(factor, size / resolved)
        for factor, size, resolved in zip(grid.factors, scan.in_plane_mm, resolved_mm(scan), strict=True)
    )


def coarsen(scan: Scan, grid: PixelGrid) -> Scan:
    """The scan on working pixels, its affine that of their centres."""
    if grid.trivial:
        return scan
    data = grid.average(torch.from_numpy(scan.data)).numpy()
    in_plane = [axis for axis in range(3) if axis != scan.axis]
    affine = scan.affine.copy()
    for axis, factor in zip(in_plane, grid.factors, strict=True):
        affine[:3, 3] += (factor - 1) / 2 * affine[:3, axis]
        affine[:3, axis] *= factor
    sizes = (scan.in_plane_mm[0] * grid.factors[0], scan.in_plane_mm[1] * grid.factors[1])
    acquired, working = (" x ".join(f"{v:.3g}" for v in pair) for pair in (scan.in_plane_mm, sizes))
    warning = (
        f"pixels of {acquired} mm are finer than the prior knows or the scan resolves: slices were restored on pixels "
        f"of {working} mm, and finer detail is that of the slices themselves, interpolated between them."
    )
    return replace(scan, data=data, affine=affine, in_plane_mm=sizes, warnings=(*scan.warnings, warning))


@dataclass(frozen=True, eq=False)
class Refinement:
    """From working voxels back to those that are written, consistent with the acquired slices.

    A volume on working voxels is what it adds to the interpolated slices; that is spread over the written voxels and
    added to the slices interpolated there. Where it is exact, the last replacement is made again on the written voxels.

    Attributes:
        scan: as acquired.
        working: forward model along the slice axis of the working voxels.
        acquisition: of the written ones; the same unless ``voxel=`` asks for another size.
        grid: acquired and working pixels.
        exact: whether the volume reproduces the acquired slices.
    """

    scan: Scan
    working: Acquisition
    acquisition: Acquisition
    grid: PixelGrid
    exact: bool

    def volume(self, coarse: np.ndarray) -> np.ndarray:
        """``(p', q', n')`` in intensity units to ``(p, q, n)``."""
        data = torch.from_numpy(self.scan.data)
        coarsely, finely = (spline_matrix(a.grid, margins=False).float() for a in (self.working, self.acquisition))
        added = torch.from_numpy(coarse) - self.grid.average(data) @ coarsely.T
        whole = torch.from_numpy(self._spread(added.numpy(), order=3))
        blank = blank_voxels(data, self.acquisition.grid)
        for i in range(0, len(whole), SLAB):
            part, y = whole[i : i + SLAB], data[i : i + SLAB]
            part += y @ finely.T
            part[blank[i : i + SLAB]] = 0
        if self.exact:
            hold(whole, self.scan, self.acquisition)
        return whole.numpy()

    def images(self, coarse: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The mean refined; deviations are spread as they are."""
        blank = blank_voxels(torch.from_numpy(self.scan.data), self.acquisition.grid).numpy()
        fine = {}
        for name, image in coarse.items():
            if name == "mean":
                fine[name] = self.volume(image)
            else:
                fine[name] = self._spread(image, order=1)
                fine[name][blank] = 0
        return fine

    def samples(self, coarse: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
        """Each sample, one at a time."""
        return map(self.volume, coarse)

    def _spread(self, image: np.ndarray, order: int) -> np.ndarray:
        """Working voxels to written ones, first along the slice axis."""
        there, here = self.working.grid, self.acquisition.grid
        if there.voxels != here.voxels or there.voxel_mm != here.voxel_mm:
            centres = [(np.arange(g.voxels) - (g.voxels - 1) / 2) * g.voxel_mm for g in (there, here)]
            within = centres[1].clip(centres[0][0], centres[0][-1])
            weights = make_interp_spline(centres[0], np.eye(there.voxels), k=order)(within).astype(np.float32)
            image = image @ weights.T
        return np.ascontiguousarray(self.grid.spread(image, order))
