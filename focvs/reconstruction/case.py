"""What is restored, and with what: all that is known before anything is sampled."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from focvs.acquisition.guided_filter import guided_detail
from focvs.acquisition.interpolation import interpolation_matrix
from focvs.priors.condition import ScanNumbers
from focvs.priors.prior import Prior
from focvs.reconstruction.forward_model import Acquisition
from focvs.reconstruction.guide import Guide
from focvs.reconstruction.stacks import Stack
from focvs.reconstruction.voxels import volume_affine, volume_mask
from focvs.scan.scan import Scan
from focvs.scan.slices import Slices


@dataclass(frozen=True, eq=False)
class Case:
    """A scan to restore.

    Attributes:
        scan: the scan.
        slices: its slices, cropped to the head, prior units.
        acquisition: its forward model.
        prior: the prior.
        device: torch device.
        stacks: further scans of the same head.
        guide: another contrast of it, or None.
        written_noise_prior: noise of the acquired slices, which the written volume may reproduce exactly, prior units.
            None takes that of ``slices``; the two differ where the scan is restored on working pixels.
        seconds_per_pixel: that an evaluation of the prior takes on this device, where it was timed.
    """

    scan: Scan
    slices: Slices
    acquisition: Acquisition
    prior: Prior
    device: str = "cpu"
    stacks: tuple[Stack, ...] = ()
    guide: Guide | None = None
    written_noise_prior: float | None = None
    seconds_per_pixel: float | None = None

    @property
    def reproduced_noise_prior(self) -> float:
        """Noise that an exact replacement would carry over, prior units."""
        return self.slices.noise_prior if self.written_noise_prior is None else self.written_noise_prior

    @cached_property
    def start(self) -> Tensor:
        """``(p, q, total)`` the interpolated and replaced scan, prior units: where sampling starts."""
        return self.slices.y @ interpolation_matrix(self.acquisition.sampled).float().T

    @cached_property
    def guiding(self) -> tuple[Tensor, ...]:
        """The filtered scan and the guide ``(p, q, total)``, prior units, as a guided stage is told of them."""
        if self.guide is None:
            return ()
        affine = volume_affine(self.scan, self.acquisition, self.slices.region, margins=True)
        guide, operator = self.guide.on(self.start.shape, affine), self.acquisition.sampled
        seen = operator(guide) @ interpolation_matrix(operator).float().T
        return self.start + guided_detail(self.start, guide, seen), guide

    @cached_property
    def head(self) -> Tensor:
        """``(p, q, total)`` boolean, voxels of the head."""
        return volume_mask(self.slices.mask, self.acquisition.grid)

    def numbers(self, noise_prior: float) -> ScanNumbers:
        """What a conditioned prior is told besides the interpolated scan."""
        grid = self.acquisition.grid
        return ScanNumbers(
            self.acquisition.profile.fwhm_mm / grid.voxel_mm, grid.spacing_mm / grid.voxel_mm, noise_prior
        )
