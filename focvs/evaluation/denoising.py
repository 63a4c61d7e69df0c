"""How well a prior denoises slices it was not trained on: a measure of minutes, not of whole restorations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.degradation import Degradation, make_degradation
from focvs.acquisition.profile import gaussian_profile
from focvs.parallel import in_parallel
from focvs.priors.condition import ScanCondition, ScanNumbers
from focvs.priors.planes import PIXELS_PER_BATCH
from focvs.priors.prior import Prior
from focvs.priors.volumetric import Orientation, VolumeDenoiser
from focvs.scan.head import head_mask
from focvs.scan.nifti import read_nifti
from focvs.scan.units import white_level

SIGMAS = (0.05, 0.1, 0.2, 0.4, 0.8)
THICK = 1.5  # a voxel this many times longer than its other sides makes a multi-slice scan
PATCH, OVERLAP = 48, 0.25  # of a 3D prior, voxels


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Slices of a head to denoise.

    Attributes:
        images: ``(count, h, w)`` in prior units; the last axis is the one a simulated scan has its slices along.
        masks: ``(count, h, w)`` head.
        chosen: ``(k,)`` the slices that are scored, some of the middle half.
        pixel_mm: of the last axis.
        isotropic: whether neighbouring slices are about a pixel apart; else each stands alone.
    """

    images: Tensor
    masks: Tensor
    chosen: Tensor
    pixel_mm: float
    isotropic: bool

    def acquisition(self, thickness_mm: float, spacing_mm: float) -> Degradation:
        """Gaussian slices along the last axis."""
        profile = gaussian_profile(thickness_mm / self.pixel_mm)
        return make_degradation(profile, spacing_mm / self.pixel_mm, self.images.shape[-1])

    def middle(self, depth: int) -> HeldOut:
        """Scored are only slices among the middle ``depth``: one layer of blocks of a 3D prior."""
        first = (len(self.images) - depth) // 2
        return replace(self, chosen=self.chosen[(self.chosen >= first) & (self.chosen < first + depth)])

    def inverted(self) -> HeldOut:
        """The same head in a contrast nobody scans: dark what was bright, in the head."""
        dark = torch.where(self.masks, (0.1 - self.images).clamp_min(-1), self.images)
        return replace(self, images=dark)

    def mean_square(self, error: Tensor) -> Tensor:
        """``(k,)`` of each scored slice, inside the head; ``error`` is ``(k, 1, h, w)``."""
        mask = self.masks[self.chosen][:, None]
        return (error.double().square() * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))


def held_out(path: Path, every: int = 6) -> HeldOut:
    """Slices of a NIfTI file, every so many of the middle half.

    Of an isotropic volume they are those across its first axis that is not superior-inferior, which comes last; of a
    multi-slice scan its own slices.

    Raises:
        InputError: as :func:`focvs.scan.nifti.read_nifti`.
    """
    data, affine, _, _ = read_nifti(path)
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    isotropic = bool(voxel_mm.max() < THICK * np.median(voxel_mm))
    if isotropic:
        along = next(i for i, c in enumerate(nib.aff2axcodes(affine)) if c in "SI")
        data, pixel_mm = np.moveaxis(data, along, -1), voxel_mm[along]
    else:
        across = int(np.argmax(voxel_mm))
        data, pixel_mm = np.moveaxis(data, across, 0), np.delete(voxel_mm, across)[-1]
    scale = white_level(data)
    images = torch.from_numpy(2 * data / scale - 1).float()
    chosen = torch.arange(len(images) // 4, 3 * len(images) // 4, every if isotropic else max(1, every // 3))
    return HeldOut(images, torch.from_numpy(head_mask(data, scale)), chosen, float(pixel_mm), isotropic)


def interpolation_error(head: HeldOut, slices: Degradation) -> Tensor:
    """``(k,)`` mean square error of the interpolated noise-free scan, prior units."""
    truth = head.images[head.chosen][:, None]
    return head.mean_square(slices.interpolated(truth) - truth)


@torch.inference_mode()
def denoising_errors(
    prior: Prior, head: HeldOut, slices: Degradation | None, slab: int = 1, sigmas: Sequence[float] = SIGMAS
) -> Tensor:
    """``(levels, k)`` mean square error of a prior inside the head, prior units.

    Args:
        prior: 2D, or a 3D one of our own, which denoises the middle half of the head in overlapping blocks.
        head: the slices.
        slices: the noise-free scan a conditioned prior is told of; None leaves it untold.
        slab: slices a 2D prior is shown, an odd number.
        sigmas: noise levels.

    Raises:
        ValueError: if neighbours are asked of slices that stand alone, or a 3D prior cannot take the head as it lies.
    """
    if (slab > 1 or prior.dimensions == 3) and not head.isotropic:
        raise ValueError("the slices of a multi-slice scan have no neighbours a pixel away.")
    noise = torch.randn(head.images.shape, generator=torch.Generator().manual_seed(0))
    truth = head.images[head.chosen][:, None]
    told = None if slices is None else ScanNumbers(slices.thickness_px, slices.spacing_px, 0.0)
    errors = []
    if prior.dimensions == 3:
        if prior.axes:
            raise ValueError("a 3D prior with an orientation of its own cannot take the head as it lies.")
        first, last = int(head.chosen[0]), int(head.chosen[-1]) + 1
        block = head.images[None, first:last]
        background = block[0] if slices is None else slices.interpolated(block[0])
        lying = Orientation("RAS", "RAS")
        volume = VolumeDenoiser(
            prior.denoise, lying, background, None, (PATCH, PATCH, PATCH), OVERLAP, prior.multiple, told
        )
        for sigma in sigmas:
            denoised = volume(block + sigma * noise[None, first:last], sigma)[0, head.chosen - first][:, None]
            errors.append(head.mean_square(denoised - truth))
        return torch.stack(errors)
    batch = max(1, PIXELS_PER_BATCH // truth[0].numel())
    for sigma in sigmas:

        def denoise(some: Tensor, sigma: float = sigma) -> Tensor:
            around = some[:, None] + torch.arange(slab) - slab // 2
            condition = () if slices is None else (ScanCondition.simulated(slices, head.images[around]),)
            return prior.denoise(head.images[around] + sigma * noise[around], sigma, *condition)

        parts = in_parallel(denoise, head.chosen.split(batch), truth.device)
        errors.append(head.mean_square(torch.cat(parts) - truth))
    return torch.stack(errors)


def gain_db(interpolated: Tensor, errors: Tensor) -> Tensor:
    """How far below the error of the interpolated scan ``(k,)`` each error ``(..., k)`` lies, dB."""
    return 10 * torch.log10(interpolated / errors)
