"""focvs demo: a generated head, degraded, restored and scored."""

from __future__ import annotations

import logging
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
from focvs.scan.nifti import axis_back, read_nifti, write_nifti
from focvs.scan.scan import read_scan
from focvs.scan.units import white_level

log = logging.getLogger(__name__)

PHANTOM_MM = 1.2
HEIGHT_MM = 144.0


def run_demo(config: DemoConfig) -> dict[str, float]:
    """Write phantom, scan, result, uncertainty and picture; print the scores beside cubic B-spline.

    Returns:
        PSNR in dB and SSIM of both, by name.
    """
    folder = Path(config.output_dir)
    if not 2 * PHANTOM_MM <= config.spacing <= 12 or config.seed < 0 or config.samples < 1:
        raise InputError(
            f"spacing={config.spacing:g} must lie between {2 * PHANTOM_MM:g} and 12 mm, seed={config.seed} must be at "
            f"least 0 and samples={config.samples} at least 1."
        )
    require_writable(folder)
    slices = round(HEIGHT_MM / config.spacing)
    shape = (128, 152, round(slices * config.spacing / PHANTOM_MM))
    clean, noisy = head_phantom(shape, seed=config.seed)
    # the voxel along the slice axis is what makes a whole number of slices and of voxels fill one field of view
    voxel_mm = np.array([PHANTOM_MM, PHANTOM_MM, slices * config.spacing / shape[2]])
    affine = np.diag([*voxel_mm, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * voxel_mm
    header = nib.Nifti1Header()
    header["qform_code"] = header["sform_code"] = 1
    header.set_xyzt_units("mm")
    truth_path = folder / "phantom.nii.gz"
    write_nifti(truth_path, 1000 * noisy, affine, header)
    simulation = SimulateConfig(
        volume=str(truth_path),
        output=str(folder / "scan.nii.gz"),
        thickness=config.thickness,
        spacing=config.spacing,
    )
    simulation.profile.kind = "gaussian"
    scan_path = simulate_scan(simulation)
    overrides = [
        f"scan={quote(str(scan_path))}",
        f"output_dir={quote(str(folder))}",
        f"samples={config.samples}",
        f"seed={config.seed}",
        f"device={config.device}",
        f"voxel={voxel_mm[2]}",
    ]
    if config.steps is not None:
        overrides.append(f"steps={config.steps}")
    settings = to_schema(compose("config", overrides))
    paths = super_resolve(settings)

    scan = read_scan(scan_path)
    grid = model_acquisition(scan, settings).grid
    ours = read_nifti(paths["mean"])[0]
    spline = (torch.from_numpy(scan.data) @ spline_matrix(grid, margins=False).float().T).numpy()
    truth = 1000 * clean
    scale = white_level(truth)
    mask = head_mask(truth, scale)
    scores = {}
    for name, estimate in (("B-spline", axis_back(spline, scan.affine, scan.file_axis)[0]), ("FOCVS", ours)):
        scores[f"{name} PSNR dB"] = peak_signal_to_noise(truth, estimate, mask, scale)
        scores[f"{name} SSIM"] = structural_similarity(truth, estimate, mask, scale)
    write_json(folder / "scores.json", {k: round(v, 4) for k, v in scores.items()})
    for name in ("B-spline", "FOCVS"):
        log.info("%-9s PSNR %.2f dB  SSIM %.4f", name, scores[f"{name} PSNR dB"], scores[f"{name} SSIM"])
    log.info("see %s", paths["figure"])
    return scores
