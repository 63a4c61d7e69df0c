"""focvs demo: a generated head, degraded, restored and scored."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from focvs.acquisition.interpolation import spline_matrix
from focvs.acquisition.phantom import head_phantom
from focvs.commands.overrides import compose, quote, to_schema
from focvs.commands.simulate import simulate_scan
from focvs.config import DemoConfig, SimulateConfig
from focvs.errors import InputError
from focvs.evaluation.metrics import peak_signal_to_noise, structural_similarity
from focvs.files import require_writable, write_json
from focvs.pipeline import super_resolve
from focvs.reconstruction.forward_model import model_acquisition
from focvs.scan.head import head_mask
from focvs.scan.nifti import axis_last, read_nifti, write_nifti
from focvs.scan.scan import read_scan
from focvs.scan.units import white_level

log = logging.getLogger(__name__)

PHANTOM_MM = 1.2
HEIGHT_MM = 144.0


@dataclass(frozen=True, eq=False)
class Phantom:
    """A generated head and its scan.

    Attributes:
        truth: ``(i, j, k)`` intensities without noise, left-right, back-front, feet-head.
        scan: file of the thick slices.
        voxel_mm: voxel size along the slice axis: whole numbers of slices and of voxels fill one field of view.
    """

    truth: np.ndarray
    scan: Path
    voxel_mm: float


def run_demo(config: DemoConfig) -> dict[str, float]:
    """Write phantom, scan, result, uncertainty and picture; print the scores beside cubic B-spline.

    Returns:
        PSNR in dB and SSIM of both, by name.

    Raises:
        InputError: for a spacing or a seed that cannot be, or a folder that cannot be written.
    """
    folder = Path(config.output_dir)
    phantom = generate(config, folder)
    overrides = [f"scan={quote(str(phantom.scan))}", f"output_dir={quote(str(folder))}", f"voxel={phantom.voxel_mm}"]
    overrides += [f"device={config.device}", "overwrite=true"]  # what an earlier demo left is its own
    settings = to_schema(compose("config", overrides))
    paths = super_resolve(settings)

    scan = read_scan(phantom.scan)
    spline = (
        torch.from_numpy(scan.data) @ spline_matrix(model_acquisition(scan, settings).grid, margins=False).float().T
    )
    ours = axis_last(*read_nifti(paths["mean"])[:2], scan.file_axis)[0]
    white = white_level(phantom.truth)
    mask = head_mask(phantom.truth, white)
    scores = {}
    for name, estimate in (("B-spline", spline.numpy()), ("FOCVS", ours)):
        scores[f"{name} PSNR dB"] = peak_signal_to_noise(phantom.truth, estimate, mask, white)
        scores[f"{name} SSIM"] = structural_similarity(phantom.truth, estimate, mask, white)
        log.info("%-9s PSNR %.2f dB  SSIM %.4f", name, scores[f"{name} PSNR dB"], scores[f"{name} SSIM"])
    write_json(folder / "scores.json", {k: round(v, 4) for k, v in scores.items()})
    log.info("see %s, and open %s in a browser", paths["figure"], paths["report"].resolve())
    return scores


def generate(config: DemoConfig, folder: Path) -> Phantom:
    """Write ``phantom.nii.gz`` and ``scan.nii.gz``.

    Raises:
        InputError: as :func:`run_demo`.
    """
    if not 2 * PHANTOM_MM <= config.spacing <= 12 or config.seed < 0:
        raise InputError(
            f"spacing={config.spacing:g} must lie between {2 * PHANTOM_MM:g} and 12 mm, and seed={config.seed} must be "
            "at least 0."
        )
    require_writable(folder)
    slices = round(HEIGHT_MM / config.spacing)
    shape = (128, 152, round(slices * config.spacing / PHANTOM_MM))
    clean, noisy = head_phantom(shape, seed=config.seed)
    voxel_mm = np.array([PHANTOM_MM, PHANTOM_MM, slices * config.spacing / shape[2]])
    affine = np.diag([*voxel_mm, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * voxel_mm
    header = nib.Nifti1Header()
    header["qform_code"] = header["sform_code"] = 1
    header.set_xyzt_units("mm")
    path = folder / "phantom.nii.gz"
    write_nifti(path, 1000 * noisy, affine, header)
    simulation = SimulateConfig(
        volume=str(path), output=str(folder / "scan.nii.gz"), thickness=config.thickness, spacing=config.spacing
    )
    simulation.profile.kind = "gaussian"
    return Phantom(1000 * clean, simulate_scan(simulation), float(voxel_mm[2]))
