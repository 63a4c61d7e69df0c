"""Restoration on working pixels, brought back to the acquired ones with every slice's own detail."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.interpolate import make_interp_spline

from focvs.acquisition.interpolation import spline_matrix
from focvs.config import RunConfig, parse_auto
from focvs.priors.pretrained import Prior
from focvs.reconstruction.forward_model import Acquisition, model_acquisition
from focvs.reconstruction.restoration import Restoration
from focvs.reconstruction.restore import restore
from focvs.reconstruction.stacks import Stack
from focvs.reconstruction.timing import Stopwatch
from focvs.reconstruction.voxels import blank_voxels, hold
from focvs.scan.pixels import PixelGrid, coarsen, noise_gain
from focvs.scan.scan import Scan
from focvs.scan.slices import Slices, take_slices

SLAB = 16  # rows of pixels refined at once


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


def restore_coarsely(
    scan: Scan,
    slices: Slices,
    pixels: PixelGrid,
    acquisition: Acquisition,
    prior: Prior,
    config: RunConfig,
    device: str,
    clock: Stopwatch,
    stacks: Sequence[Stack] = (),
) -> Restoration:
    """:func:`restore` on working pixels, brought back to the acquired ones; noise in units of the acquired ones."""
    given = parse_auto("noise", config.noise)
    coarse_config = replace(config, voxel="auto", noise="auto" if given is None else given * noise_gain(scan, pixels))
    working = coarsen(scan, pixels)
    coarse = model_acquisition(working, coarse_config, thickness=acquisition.thickness)
    taken = take_slices(working, coarse_config)
    restoration = restore(working, taken, coarse, prior, coarse_config, device, clock, stacks, slices.noise_sigma)
    refine = Refinement(scan, coarse, acquisition, pixels, restoration.exact)
    return replace(
        restoration,
        images=refine.images(restoration.images),
        samples=refine.samples(restoration.samples),
        noise_sigma=slices.noise_sigma * slices.scale / 2,
        chi2_before_last_replacement=None,  # of pixels that are not written
    )
