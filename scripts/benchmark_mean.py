"""How far a mean lies above B-spline + one exact replacement.

Each thin-slice volume is degraded along its superior-inferior axis by Gaussian slices, interpolated and replaced,
given to the network in the planes that contain the slice axis, and replaced once more; PSNR is over the head mask in
the middle ``--box`` voxels from left to right, the 99.5th percentile being 1.

    python scripts/benchmark_mean.py runs/mean2d/ema --truth uih2_T1w.nii.gz ms26_FLAIR.nii.gz --slices 4:4 6:6
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from benchmark_quality import cropped, middle_box
from focvs.acquisition.grid import make_grid, plane_distance_mm
from focvs.acquisition.interpolation import interpolation_matrix
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.evaluation.metrics import peak_signal_to_noise, structural_similarity
from focvs.priors.mean import SlabDenoiser, mean_of_planes
from focvs.priors.mean_network import MeanUNet2D
from focvs.priors.prior import Inference
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.nifti import axis_last
from focvs.scan.units import IntensityUnits, white_level


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, nargs="+", help="folder of the weights, and of a second stage")
    parser.add_argument("--truth", type=Path, nargs="+", required=True)
    parser.add_argument("--slices", nargs="+", default=["4:4", "4:5.2", "6:6"], help="thickness:spacing in mm")
    parser.add_argument("--noise", type=float, default=0.0, help="of the scan, fraction of the 99.5th percentile")
    parser.add_argument("--box", type=int, default=48)
    options = parser.parse_args()
    stages = [
        Inference(SlabDenoiser(MeanUNet2D.from_pretrained(folder)), "cpu", torch.bfloat16) for folder in options.weights
    ]
    print(f"{'truth':12s} {'slices mm':9s} {'replaced':>8s} {'mean':>6s} {'gain dB':>8s} {'SSIM':>14s} {'seconds':>8s}")
    for path in options.truth:
        for slices in options.slices:
            print(f"{image_stem(path):12s} {slices:9s} {compare(stages, path, slices, options)}", flush=True)


def compare(stages: list[Inference], path: Path, slices: str, options: argparse.Namespace) -> str:
    thickness, spacing = map(float, slices.split(":"))
    whole, _, axis = cropped(path, spacing)
    data, affine = axis_last(*middle_box(*whole, options.box), axis)
    voxel, profile = plane_distance_mm(affine), gaussian_profile(thickness)
    scan = simulate_slices(data, voxel, profile, spacing)
    white = white_level(data)
    noise = np.random.default_rng(0).standard_normal(scan.shape, dtype=np.float32)
    scan = scan + options.noise * white * noise
    grid = make_grid(scan.shape[-1], spacing, voxel, profile.half_support_mm, keep_extent=False)
    operator, units = ThroughPlaneOperator(profile, grid, "edge"), IntensityUnits(white)
    y = units.to_prior(torch.from_numpy(scan))
    start = y @ interpolation_matrix(operator).float().T
    began = time.perf_counter()
    mean = start
    with torch.inference_mode():
        for stage in stages:
            mean = operator.replace(mean_of_planes(stage, start, mean).double(), y.double()).float()
    seconds = time.perf_counter() - began
    mask = head_mask(data, white)
    found = [units.from_prior(image).numpy() for image in (start, mean)]
    psnr = [peak_signal_to_noise(data, image, mask, white) for image in found]
    ssim = [structural_similarity(data, image, mask, white) for image in found]
    return f"{psnr[0]:8.2f} {psnr[1]:6.2f} {psnr[1] - psnr[0]:+8.2f} {ssim[0]:.4f} {ssim[1]:.4f}   {seconds:6.1f}"


if __name__ == "__main__":
    main()
