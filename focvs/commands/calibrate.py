"""focvs calibrate: the error table of any prior, measured on volumes it was not made to restore."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from focvs.config import CalibrateConfig
from focvs.errors import FocvsError, InputError
from focvs.files import require_writable, write_atomically
from focvs.priors.calibration import BLOCK, measure_errors, measure_volume_errors
from focvs.priors.error_table import CALIBRATION, ErrorTable
from focvs.priors.pretrained import beside
from focvs.priors.prior import Prior
from focvs.priors.volumetric import Orientation, VolumeDenoiser
from focvs.reconstruction.setup import choose_device, open_prior
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.scan.head import bounding_box, head_mask
from focvs.scan.nifti import read_volume
from focvs.scan.slices import CROP_MARGIN
from focvs.scan.units import IntensityUnits, white_level

log = logging.getLogger(__name__)

SIGMA_RANGE = (0.01, 1.6)
ISOTROPIC = 1.5  # voxels longer than this times their width are those of thick slices


def calibrate_prior(config: CalibrateConfig) -> Path:
    """Noise and denoise slices (2D) or volumes (3D), and write the spectrum of the errors inside the head.

    The spectra of the volumes, in cycles per mm, are averaged geometrically. A conditioned prior is measured without
    a scan: its table is an upper bound, used where a scan cannot calibrate itself.

    Returns:
        The table's path.

    Raises:
        InputError: if there are no usable volumes, an option cannot be, the prior gives a mean alone, or is the shipped
            one and no output is given, or the table could not be written.
        PriorError: if the prior cannot be loaded.
    """
    if config.levels < 2 or config.slices < 1:
        raise InputError(f"levels={config.levels} and slices={config.slices} must be at least 2 and 1.")
    root = Path(config.data)
    files = [root] if root.is_file() else sorted(p for p in root.rglob("*.nii*") if p.is_file())
    if not files:
        raise InputError(f"{root} holds no NIfTI file to calibrate on.")
    device = choose_device(config.device)
    prior = open_prior(config.prior, device)
    if not prior.samples:
        raise InputError(
            f"prior={config.prior.name} gives a mean; only a prior that can be sampled has an error table."
        )
    if config.output:
        out = Path(config.output)
    elif config.prior.path is None:
        raise InputError(f"the shipped prior {config.prior.name} keeps its table; give output= a file for the new one.")
    else:
        out = beside(prior, CALIBRATION)
    require_writable(out.parent)
    sigmas = karras_sigmas(config.levels, SIGMA_RANGE[1], SIGMA_RANGE[0])
    rows = []
    for path in files:
        try:
            table = _measure(prior, path, sigmas, config.slices, device)
        except (FocvsError, ValueError) as error:
            log.warning("%s is left out: %s", path.name, error)
            continue
        rows.append(table.at(table.sigmas, BLOCK, 1.0).log())
        rms = rows[-1].exp().mean(1).sqrt()
        shown = " ".join(f"{float(s):.3g}:{float(e):.3f}" for s, e in zip(table.sigmas[::3], rms[::3], strict=True))
        log.info("%s: rms error at sigma %s", path.name, shown)
    if not rows:
        raise InputError(f"none of the {len(files)} files under {root} could be calibrated on; the reasons are above.")
    table = ErrorTable(sigmas.sort().values, torch.stack(rows).mean(0).exp(), pixel_mm=1.0)
    write_atomically(out, out.suffix, table.save)
    log.info("wrote %s from %d volumes", out, len(rows))
    return out


def _measure(prior: Prior, path: Path, sigmas: torch.Tensor, slices: int, device: str) -> ErrorTable:
    data, affine, _ = read_volume(path)
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    if voxel_mm.max() > ISOTROPIC * voxel_mm.min():
        sizes = " x ".join(f"{v:.3g}" for v in voxel_mm)
        raise ValueError(f"its voxels of {sizes} mm are no volume's; give nearly isotropic ones.")
    units = IntensityUnits(white_level(data))
    denoise = prior.in_units_of(units.white, float(data.max()))
    volume = units.to_prior(torch.from_numpy(data))
    mask = torch.from_numpy(head_mask(data, units.white))
    if prior.dimensions == 3:
        box = bounding_box(mask.numpy(), CROP_MARGIN)
        volume, mask = volume[box], mask[box]
        codes = "".join(nib.aff2axcodes(affine))
        orientation = Orientation(codes, prior.axes or codes)
        whole = VolumeDenoiser(denoise, orientation, None, prior.shape, (96, 96, 96), multiple=prior.multiple)
        mask &= whole.reached(mask.shape)
        return measure_volume_errors(whole, volume.to(device), mask.to(device), sigmas, float(voxel_mm.mean()))
    tables = []
    for axis in range(3):
        chosen = (np.linspace(0.4, 0.6, slices) * volume.shape[axis]).astype(int)
        images, masks = (v.movedim(axis, 0)[chosen][:, None].contiguous().to(device) for v in (volume, mask))
        pixel_mm = float(np.delete(voxel_mm, axis).mean())
        tables.append(measure_errors(denoise, images, masks, sigmas, pixel_mm))
    rows = torch.stack([t.at(t.sigmas, BLOCK, 1.0) for t in tables]).log().mean(0).exp()
    return ErrorTable(tables[0].sigmas, rows, 1.0)
