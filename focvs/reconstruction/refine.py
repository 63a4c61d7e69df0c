"""Restoration on working pixels, brought back to the acquired ones with every slice's own detail."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.interpolation import spline_matrix
from focvs.config import parse_auto
from focvs.reconstruction.case import Case
from focvs.reconstruction.forward_model import Acquisition, model_acquisition
from focvs.reconstruction.restoration import Restoration
from focvs.reconstruction.restore import restore
from focvs.reconstruction.timing import Stopwatch
from focvs.reconstruction.voxels import blank_voxels, hold, keep_positive
from focvs.run_config import RunConfig
from focvs.sampling.statistics import replaced_noise
from focvs.scan.pixels import PixelGrid, noise_factor
from focvs.scan.scan import Scan
from focvs.scan.slices import Slices, take_slices

ROWS = 16  # of pixels refined at once


@dataclass(frozen=True, eq=False)
class Refinement:
    """From working voxels back to those that are written, consistent with the acquired slices.

    What the volume on working voxels adds to the slices interpolated there is interpolated to the written voxels,
    and added to the acquired slices interpolated to the same voxels. Where the volume is exact, the last replacement is
    made again on the written voxels.

    Attributes:
        scan: as acquired.
        working: forward model along the slice axis of the working voxels.
        acquisition: of the written ones; the same unless ``voxel=`` asks for another size.
        grid: acquired and working pixels.
        exact: whether the volume reproduces the acquired slices.
        nonnegative: as :func:`focvs.reconstruction.voxels.keep_positive` takes it.
    """

    scan: Scan
    working: Acquisition
    acquisition: Acquisition
    grid: PixelGrid
    exact: bool
    nonnegative: bool | str = "auto"

    @cached_property
    def blank(self) -> Tensor:
        """``(p, q, n)`` boolean, written voxels of a background that was set to zero."""
        return blank_voxels(torch.from_numpy(self.scan.data), self.acquisition.grid)

    def __call__(self, coarse: np.ndarray) -> np.ndarray:
        """``(p', q', n')`` in intensities to ``(p, q, n)``."""
        data = torch.from_numpy(self.scan.data)
        coarsely, finely = (spline_matrix(a.grid, margins=False).float() for a in (self.working, self.acquisition))
        added = torch.from_numpy(coarse) - self.grid.average(data) @ coarsely.T
        whole = torch.from_numpy(self._upsample(added.numpy()))
        for i in range(0, len(whole), ROWS):
            whole[i : i + ROWS] += data[i : i + ROWS] @ finely.T
        whole[self.blank] = 0
        if self.exact:
            hold(whole, self.scan, self.acquisition)
        keep_positive(whole, self.scan, self.acquisition, self.exact, self.nonnegative)
        return whole.numpy()

    def deviation(self, coarse: np.ndarray) -> np.ndarray:
        """A standard deviation ``(p', q', n')`` to ``(p, q, n)``: nothing of it is in what the slices add."""
        fine = self._upsample(coarse).clip(0)
        fine[self.blank.numpy()] = 0
        return fine

    def sampled(self, coarse: np.ndarray) -> np.ndarray:
        """Boolean of working voxels to written ones: each takes that of the nearest."""
        there, here = self.working.grid, self.acquisition.grid
        place = (np.arange(here.voxels) - (here.voxels - 1) / 2) * here.voxel_mm / there.voxel_mm
        nearest = np.rint(place + (there.voxels - 1) / 2).astype(int).clip(0, there.voxels - 1)
        fine = coarse[..., nearest]
        for axis, factor in enumerate(self.grid.factors):
            fine = fine.repeat(factor, axis)
        return fine[: self.grid.shape[0], : self.grid.shape[1]] & ~self.blank.numpy()

    @property
    def scale(self) -> tuple[float, float, float]:
        """Written voxels in a working one, along each axis."""
        return *self.grid.factors, self.working.grid.voxel_mm / self.acquisition.grid.voxel_mm

    def _upsample(self, image: np.ndarray) -> np.ndarray:
        """Working voxels to written ones by cubic splines, first along the slice axis."""
        there, here = self.working.grid, self.acquisition.grid
        if there.voxels != here.voxels or there.voxel_mm != here.voxel_mm:
            from scipy.interpolate import make_interp_spline  # takes a third of a second

            centres = [(np.arange(g.voxels) - (g.voxels - 1) / 2) * g.voxel_mm for g in (there, here)]
            within = centres[1].clip(centres[0][0], centres[0][-1])
            weights = make_interp_spline(centres[0], np.eye(there.voxels), k=3)(within).astype(np.float32)
            image = image @ weights.T
        return np.ascontiguousarray(self.grid.upsample(image))


def _with_noise(deviation: np.ndarray, refine: Refinement, noise_intensity: float, working: Slices) -> np.ndarray:
    """A deviation with the noise that an exact replacement carries over of the acquired slices, not of averaged ones.

    Args:
        deviation: ``(p, q, n)`` as of working pixels.
        refine: to the acquired ones.
        noise_intensity: of the acquired slices.
        working: slices on working pixels.
    """
    if not refine.exact:
        return deviation
    here = replaced_noise(refine.acquisition.written, noise_intensity).float().numpy()
    there = float(replaced_noise(refine.working.written, working.noise_intensity).mean())
    more = np.maximum(here**2 - there**2, 0)
    return np.where(deviation > 0, np.sqrt(deviation**2 + more), 0).astype(np.float32)


def restore_coarsely(case: Case, working: Scan, pixels: PixelGrid, config: RunConfig, clock: Stopwatch) -> Restoration:
    """:func:`restore` on working pixels, brought back to the acquired ones; noise in units of the acquired ones.

    Args:
        case: of the scan as it was acquired.
        working: the scan on working pixels.
        pixels: between the two.
        config: as for :func:`restore`; ``voxel`` and ``noise`` are of the acquired pixels.
        clock: gets the laps.
    """
    scan, given = case.scan, parse_auto("noise", config.noise)
    coarse_model = model_acquisition(working, replace(config, voxel="auto"), thickness=case.acquisition.thickness)
    taken = take_slices(working, None if given is None else given * noise_factor(scan, pixels))
    coarse = replace(
        case,
        scan=working,
        slices=taken,
        acquisition=coarse_model,
        written_noise_prior=case.slices.noise_prior,
    )
    restoration = restore(coarse, replace(config, nonnegative=False), clock)
    refine = Refinement(scan, coarse_model, case.acquisition, pixels, restoration.exact, config.nonnegative)
    return replace(
        restoration,
        mean=refine(restoration.mean),
        samples=restoration.samples.mapped(refine),
        noise_intensity=case.slices.noise_intensity,
        sampled=None if restoration.sampled is None else refine.sampled(restoration.sampled),
        deviation=None
        if restoration.deviation is None
        else _with_noise(refine.deviation(restoration.deviation), refine, case.slices.noise_intensity, taken),
        scale=refine.scale,
        misfit=None,  # it would be that of pixels that are not written
    )
