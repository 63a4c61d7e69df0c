"""The prior's error spectrum, measured on the scan itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.degradation import make_degradation
from focvs.errors import InputError
from focvs.parallel import in_parallel
from focvs.priors.calibration import BLOCK, measure_errors, measure_turned_errors, measure_volume_errors, wiener_errors
from focvs.priors.condition import ScanCondition, ScanNumbers
from focvs.priors.denoiser import Denoiser
from focvs.priors.error_table import ErrorTable
from focvs.priors.volumetric import Orientation, VolumeDenoiser
from focvs.reconstruction.case import Case
from focvs.reconstruction.forward_model import Acquisition
from focvs.run_config import Calibration, RunConfig
from focvs.scan.head import bounding_box

CALIBRATION_SLICES = 6
CALIBRATION_EDGE = 96  # voxels
ERROR_OF_MEAN = 0.1  # prior units; only its ratio to the scan's noise counts
FLAT = "all frequencies alike, as the head is too small to measure it on"
FALLBACK = "a Wiener filter of the scan's slices, as the prior has no table (focvs calibrate makes one)"


def calibrate(case: Case, network: Callable[..., Tensor], sigmas: Tensor, config: RunConfig) -> tuple[ErrorTable, str]:
    """The prior's error spectrum at ``sigmas``: from the scan itself, or the table stored with the prior.

    A 2D prior is measured on the scan's slices, a 3D one on a block of the interpolated scan along its in-plane axes; a
    conditioned one also sees a scan simulated from them, by the same acquisition along an in-plane axis. The block has
    no detail along the slice axis, so that measured errors are somewhat too small (conditioned on 4 mm slices of a
    kept-out head: 0.08 at the highest noise level instead of the true 0.11). Therefore an unconditional 3D prior always
    uses its table, which is of isotropic volumes, if it has one. If it has none and no block can be measured, because
    its field of view is fixed or the head is too small, the spectrum is that of a Wiener filter of the scan's slices.

    Args:
        case: the prior, the slices and their acquisition.
        network: the prior's denoiser, in the units of the volume.
        sigmas: noise levels of the schedule.
        config: which source to prefer, the other is used where it cannot be had; patch and overlap of a 3D prior.

    Returns:
        The table, and where it is from.

    Raises:
        InputError: if no source is available.
    """
    prior, slices, scan, device = case.prior, case.slices, case.scan, case.device
    table, volumetric, wanted = prior.errors, prior.dimensions == 3, config.consistency.calibration
    if table is not None and (wanted is Calibration.table or (volumetric and not prior.conditioned)):
        return table, "the table stored with the prior"
    chosen = slices.largest()[: 2 * CALIBRATION_SLICES : 2]
    images, masks = (v.to(device) for v in slices.images(chosen))
    pixel_mm = float(np.mean(scan.in_plane_mm))
    scan_of = partial(turned_scan, case.acquisition, pixel_mm, slices.noise_prior)
    patches = config.prior.patch, config.prior.overlap, prior.multiple

    def told(truth: Tensor) -> Denoiser:
        of = scan_of(truth[None, None])
        numbers = ScanNumbers(float(of.thickness_px), float(of.spacing_px), float(of.noise))
        return VolumeDenoiser(network, Orientation("RAS"), of.image[0, 0], None, *patches, numbers)

    try:
        if not volumetric:
            turned = scan_of if prior.conditioned else None
            each = image_by_image(network)
            measured = measure_errors(each, images, masks, sigmas, pixel_mm, scan_of=turned)
            return measured, f"{len(chosen)} slices of the scan ({BLOCK}-pixel blocks)"
        if prior.shape is None:
            volume, mask = (v.to(device) for v in _block(case))
            if prior.conditioned:
                measured = measure_turned_errors(told, volume, mask, sigmas, pixel_mm)
            else:
                orientation = Orientation(scan.orientation, prior.axes or scan.orientation)
                whole = VolumeDenoiser(network, orientation, None, None, *patches)
                measured = measure_volume_errors(whole, volume, mask, sigmas, pixel_mm, axes=(0, 1))
            size = " x ".join(map(str, volume.shape))
            return measured, f"{size} voxels of the interpolated scan ({BLOCK}-voxel blocks)"
    except ValueError as error:
        if table is not None:
            return table, f"the table stored with the prior ({error})"
        if config.sampler.name == "mean":
            flat = torch.full((1, BLOCK), ERROR_OF_MEAN**2, dtype=torch.float64)
            return ErrorTable(sigmas.double().sort().values[:1].cpu(), flat, pixel_mm), FLAT
        if not volumetric:
            raise InputError(f"the prior cannot be calibrated: {error}") from error
    try:
        return wiener_errors(images, masks, sigmas, pixel_mm), FALLBACK
    except ValueError as error:
        raise InputError(f"the prior cannot be calibrated: {error}") from error


def image_by_image(network: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A 2D denoiser whose images are evaluated one by one on a CPU, a core each, so that cores make no difference."""

    def denoise(x: Tensor, sigma: float, *told: ScanCondition) -> Tensor:
        if x.device.type != "cpu":
            return network(x, sigma, *told)
        items = [slice(i, i + 1) for i in range(len(x))]
        return torch.cat(
            in_parallel(lambda one: network(x[one], sigma, *(each.some(one) for each in told)), items, x.device)
        )

    return denoise


def _block(case: Case) -> tuple[Tensor, Tensor]:
    """The middle of the interpolated scan, and where in it there is head."""
    grid = case.acquisition.grid
    mask = grid.crop(case.slices.mask[..., grid.nearest_slices])
    block = middle_block(mask.numpy())
    return grid.crop(case.start)[block], mask[block]


def middle_block(mask: np.ndarray) -> tuple[slice, ...]:
    """The middle of the head's box ``mask`` ``(p, q, n)``, edges of at most :data:`CALIBRATION_EDGE` voxels."""
    sides = []
    for side in bounding_box(mask, 0):
        edge = min(CALIBRATION_EDGE, side.stop - side.start)
        start = (side.start + side.stop - edge) // 2
        sides.append(slice(start, start + edge))
    return tuple(sides)


def turned_scan(acquisition: Acquisition, pixel_mm: float, noise_sigma: float, images: Tensor) -> ScanCondition:
    """What a conditioned prior would be told had ``images`` ``(k, 1, ..., n)`` been acquired along their last axis."""
    profile = acquisition.profile.scaled(1 / pixel_mm)
    degrade = make_degradation(profile, acquisition.grid.spacing_mm / pixel_mm, images.shape[-1])
    noise = torch.randn(*images.shape[:-1], degrade.slices, generator=torch.Generator().manual_seed(0))
    return ScanCondition.simulated(degrade, images, noise_sigma, noise.to(images))
