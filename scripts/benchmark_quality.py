r"""Quality against the truth: ``python scripts/benchmark_quality.py TRUTH [TRUTH ...] [options]``.

Each thin-slice volume is degraded by ``focvs simulate`` along its superior-inferior axis, restored with the voxel
size of the truth, and scored in the head mask (PSNR in dB and SSIM, intensities scaled by the 99.5th percentile)
beside cubic B-spline and B-spline + one exact replacement. Each ``--run`` names a set of overrides of
conf/config.yaml, ``{spacing}`` standing for that of the scan; several make a table of methods. Anything after ``--``
holds for every run. With ``--box`` a run with ``adapt=true`` still adapts to the slices of the whole scan, its seconds
those of the adaptation and of the box, and one with ``thickness=estimate`` estimates it on the whole scan.

    python scripts/benchmark_quality.py $FOCVS_DATA/eval/isotropic/adi_T1w.nii.gz --slices 4:4 4:5.2 6:6
    python scripts/benchmark_quality.py ... --noise 0.01 --run "calibrated:" --run "ddnm: consistency=ddnm" -- samples=2
    python scripts/benchmark_quality.py ... --run "true:" --run "estimated: thickness=estimate" \
        --run "header: thickness={spacing}"
    python scripts/benchmark_quality.py ... --seeds 0 1 2 --noise 0.01 --run "2D:" --run "adapted: adapt=true"
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from omegaconf import OmegaConf

from focvs.acquisition.interpolation import spline_matrix
from focvs.adaptation import adapt_prior
from focvs.config import RunConfig, SimulateConfig
from focvs.evaluation.metrics import peak_signal_to_noise, structural_similarity
from focvs.forward_model import estimate_thickness, model_acquisition, take_slices
from focvs.overrides import compose, quote, split_overrides
from focvs.pipeline import super_resolve
from focvs.preparation import choose_device, open_prior
from focvs.simulate import simulate_scan
from focvs.sweep import crop_for_grid
from focvs.volume import Scan, head_mask, intensity_scale, read_nifti, read_scan, write_nifti


def main() -> None:
    arguments, overrides = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--slices", nargs="+", default=["4:4", "4:5.2", "6:6"], help="thickness:spacing in mm")
    parser.add_argument("--run", action="append", help="NAME: overrides, may be given several times")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the scan's noise")
    parser.add_argument("--noise", type=float, default=0.0, help="noise of the scan, fraction of the 99.5th percentile")
    parser.add_argument("--box", type=int, default=0, help="restore only this many middle voxels of the first axis")
    parser.add_argument("--json", type=Path, help="append one line per row to this file")
    options = parser.parse_args(arguments)
    runs = {}
    for word in options.run or ["FOCVS:"]:
        name, _, rest = word.partition(":")
        runs[name.strip()] = [*overrides, *rest.split()]
    print(
        f"{'truth':12s} {'slices mm':9s} {'seed':>4s} {'method':28s} {'PSNR dB':>8s} {'SSIM':>7s} {'seconds':>8s}",
        flush=True,
    )
    gathered: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for truth in options.truth:
        stem = truth.name.split(".")[0]
        for slices in options.slices:
            thickness, spacing = map(float, slices.split(":"))
            for seed in options.seeds:
                for row in run_case(truth, thickness, spacing, seed, options, runs):
                    method, psnr, ssim, seconds = row
                    gathered.setdefault((stem, slices, method), []).append((psnr, ssim))
                    print(
                        f"{stem:12s} {slices:9s} {seed:4d} {method:28s} {psnr:8.2f} {ssim:7.4f} {seconds:8.1f}",
                        flush=True,
                    )
                    if options.json:
                        keys = ("truth", "slices", "noise", "seed", "method", "psnr", "ssim", "seconds", "overrides")
                        values = (stem, slices, options.noise, seed, *row, runs.get(method, []))
                        with options.json.open("a") as stream:
                            stream.write(json.dumps(dict(zip(keys, values, strict=True))) + "\n")
    if len(options.seeds) > 1:
        print(f"mean over {len(options.seeds)} noise seeds")
        for (stem, slices, method), scores in gathered.items():
            psnr, ssim = np.mean(scores, axis=0)
            spread = np.std([p for p, _ in scores], ddof=1)
            print(f"{stem:12s} {slices:9s} {method:28s} {psnr:8.2f} +- {spread:.2f} {ssim:7.4f}")


def run_case(
    truth_path: Path,
    thickness: float,
    spacing: float,
    seed: int,
    options: argparse.Namespace,
    runs: dict[str, list[str]],
):
    data, affine, header, _ = read_nifti(truth_path)
    axis = next(i for i, code in enumerate(nib.aff2axcodes(affine)) if code in "SI")
    voxel = float(np.linalg.norm(affine[:3, axis]))
    whole = crop_for_grid(data, affine, axis, spacing)
    data, affine = middle_box(*whole, options.box) if options.box else whole
    scale = intensity_scale(data)
    mask = head_mask(np.moveaxis(data, axis, -1), scale)
    truth = np.moveaxis(data, axis, -1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def simulate(stem: str, volume: np.ndarray, placed: np.ndarray) -> Scan:
            write_nifti(folder / f"{stem}_truth.nii.gz", volume, placed, header)
            simulation = SimulateConfig(
                str(folder / f"{stem}_truth.nii.gz"),
                str(folder / f"{stem}.nii.gz"),
                thickness=thickness,
                spacing=spacing,
            )
            simulation.profile.kind, simulation.noise, simulation.seed = "gaussian", options.noise, seed
            return read_scan(simulate_scan(simulation))

        scan = simulate("scan", data, affine)

        def score(estimate: np.ndarray) -> tuple[float, float]:
            return (
                peak_signal_to_noise(truth, estimate, mask, scale),
                structural_similarity(truth, estimate, mask, scale),
            )

        spline = None
        for method, overrides in runs.items():
            words = [f"scan={quote(str(scan.path))}", f"output_dir={quote(name)}", f"voxel={voxel}"]
            overrides = [word.replace("{spacing}", str(spacing)) for word in overrides]
            config = OmegaConf.to_object(compose("config", [*words, "figure=false", *overrides]))
            if config.thickness == "estimate" and options.box:
                config.thickness = estimate_thickness(simulate("whole", *whole), spacing, config.profile).thickness_mm
            if spline is None:
                acquisition = model_acquisition(scan, config)  # of the first run: it should know the truth
                y = torch.from_numpy(scan.data).double()
                spline = y @ spline_matrix(acquisition.grid, margins=False).T
                yield "B-spline", *score(spline.numpy()), 0.0
                yield "B-spline + replacement", *score(acquisition.written.replace(spline, y).numpy()), 0.0
            spent = 0.0
            if config.adapt and options.box:
                began = time.monotonic()
                config.prior.path = str(adapted_to(simulate("whole", *whole), config, folder / "adapted"))
                config.adapt, spent = False, time.monotonic() - began
            paths = super_resolve(config)
            seconds = spent + json.loads(paths["json"].read_text())["seconds"]["total"]
            ours = np.moveaxis(read_nifti(paths["mean"])[0], scan.axis, -1)
            yield method, *score(ours), seconds


def adapted_to(scan: Scan, config: RunConfig, kept: Path) -> Path:
    """The folder of the prior adapted to a scan."""
    config.adaptation.cache = str(kept)
    device = choose_device(config.device)
    prior = open_prior(config.prior, device)
    adapt_prior(
        prior,
        take_slices(scan, config),
        scan,
        model_acquisition(scan, config),
        config.adaptation,
        device,
        progress=False,
    )
    return max(kept.iterdir(), key=lambda folder: folder.stat().st_mtime)


def middle_box(data: np.ndarray, affine: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle ``size`` voxels of the first axis."""
    first = (data.shape[0] - size) // 2
    affine = affine.copy()
    affine[:3, 3] += affine[:3, 0] * first
    return data[first : first + size], affine


if __name__ == "__main__":
    main()
