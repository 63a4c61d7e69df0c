r"""What a second, orthogonal stack adds: ``python scripts/benchmark_stacks.py TRUTH [TRUTH ...] [options]``.

Of each thin-slice volume an axial and a sagittal stack are made, the second after the head has moved by ``--move``
degrees about each axis and as many mm along it, which its header does not say. Then one volume is restored from the
first stack and from both, and scored in the head mask (PSNR in dB and SSIM, intensities scaled by the 99.5th
percentile), 4 mm left out at both ends of both slice axes. "only replaced": the interpolated first stack, held to both
as the last step of every run does, without the prior.

    python scripts/benchmark_stacks.py adi_T1w.nii.gz --box 48 -- quality=samples samples=1 steps=6
    python scripts/benchmark_stacks.py adi_T1w.nii.gz --box 48 --move 2 -- quality=samples samples=1 steps=6
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from omegaconf import OmegaConf
from scipy import ndimage
from scipy.spatial.transform import Rotation

from benchmark_quality import middle_box, quiet_words
from focvs.acquisition.interpolation import spline_matrix
from focvs.commands.overrides import compose, quote, split_overrides
from focvs.commands.simulate import simulate_scan
from focvs.commands.sweep import crop_for_grid
from focvs.evaluation.metrics import peak_signal_to_noise, structural_similarity
from focvs.files import write_csv
from focvs.pipeline import super_resolve
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.reconciliation import Reconciliation
from focvs.reconstruction.stacks import open_stacks
from focvs.reconstruction.voxels import blank_voxels, hold
from focvs.scan.head import head_mask
from focvs.scan.nifti import read_nifti, write_nifti
from focvs.scan.scan import read_scan
from focvs.scan.units import white_level

ENDS_MM = 4.0
COLUMNS = ("truth", "method", "psnr_db", "ssim", "seconds", "second_residual")


def main() -> None:
    arguments, overrides = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--thickness", type=float, default=4.0, help="of both stacks, equal to their spacing, mm")
    parser.add_argument("--noise", type=float, default=0.0, help="of both stacks, fraction of the 99.5th percentile")
    parser.add_argument("--move", type=float, default=0.0, help="of the head between the stacks, degrees and mm")
    parser.add_argument("--box", type=int, default=0, help="only this many middle voxels of the first axis")
    parser.add_argument("--csv", type=Path, help="file of a row for each volume and method")
    options = parser.parse_args(arguments)
    rows = []
    print(f"{'truth':12s} {'method':28s} {'PSNR dB':>8s} {'SSIM':>7s} {'seconds':>8s}  residual of the second stack")
    for path in options.truth:
        for method, psnr, ssim, seconds, residual in run_case(path, options, overrides):
            second = "" if residual is None else f"{residual:9.1e}"
            stem = path.name.split(".")[0]
            scores = (f"{psnr:.4f}", f"{ssim:.5f}", f"{seconds:.1f}", second.strip())
            rows.append(dict(zip(COLUMNS, (stem, method, *scores), strict=True)))
            print(f"{stem:12s} {method:28s} {psnr:8.2f} {ssim:7.4f} {seconds:8.1f}  {second}", flush=True)
    if options.csv:
        write_csv(options.csv, rows, COLUMNS)


def run_case(
    path: Path, options: argparse.Namespace, overrides: list[str]
) -> Iterator[tuple[str, float, float, float, float | None]]:
    data, affine, header, _ = read_nifti(path)
    codes = nib.aff2axcodes(affine)
    axial = next(i for i, code in enumerate(codes) if code in "SI")
    sagittal = next(i for i, code in enumerate(codes) if code in "LR")
    if options.box:
        data, affine = middle_box(data, affine, options.box)
    for axis in (axial, sagittal):
        data, affine = crop_for_grid(data, affine, axis, options.thickness)
    scale = white_level(data)
    inner = np.ones(data.shape, dtype=bool)
    for axis in (axial, sagittal):
        ends, lost = np.moveaxis(inner, axis, 0), round(ENDS_MM / float(np.linalg.norm(affine[:3, axis])))
        ends[:lost], ends[-lost:] = False, False
    mask = np.moveaxis(head_mask(np.moveaxis(data, axial, -1), scale), -1, axial) & inner
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        seen = {"inferior-superior": data, "left-right": moved(data, affine, options.move)}
        stacks = []
        for seed, (direction, volume) in enumerate(seen.items()):
            truth, stack = folder / f"{direction}_truth.nii.gz", folder / f"{direction}.nii.gz"
            write_nifti(truth, volume, affine, header)
            words = [f"volume={quote(str(truth))}", f"output={quote(str(stack))}", f"thickness={options.thickness}"]
            words += [f"axis={direction}", f"noise={options.noise}", f"seed={seed}"]
            stacks.append(simulate_scan(OmegaConf.to_object(compose("simulate", words))))

        def score(estimate: np.ndarray) -> tuple[float, float]:
            return (
                peak_signal_to_noise(data, estimate, mask, scale),
                structural_similarity(data, estimate, mask, scale),
            )

        voxel = float(np.linalg.norm(affine[:3, axial]))
        words = quiet_words(stacks[0], name, voxel)
        words += [f"align={'rigid' if options.move else 'headers'}", *overrides]
        both = [*words, f"stacks=[{quote(str(stacks[1]))}]"]

        scan, config = read_scan(stacks[0]), OmegaConf.to_object(compose("config", both))
        acquisition = model_acquisition(scan, config)
        start = torch.from_numpy(scan.data) @ spline_matrix(acquisition.grid, margins=False).float().T
        hold(start, scan, acquisition)
        yield "one stack, only replaced", *score(np.moveaxis(start.numpy(), -1, axial)), 0.0, None
        together = Reconciliation(open_stacks(config, scan, acquisition), scan, acquisition)
        together(start, blank_voxels(torch.from_numpy(scan.data), acquisition.grid))
        second = together.residuals(start)[0].relative_rms_residual
        yield "both stacks, only replaced", *score(np.moveaxis(start.numpy(), -1, axial)), 0.0, second
        for method, given in (("one stack", words), ("both stacks", both)):
            paths = super_resolve(OmegaConf.to_object(compose("config", given)))
            report = json.loads(paths["json"].read_text())
            second = report["stacks"][0]["relative_rms_residual"] if report["stacks"] else None
            yield method, *score(read_nifti(paths["mean"])[0]), report["seconds"]["total"], second


def moved(data: np.ndarray, affine: np.ndarray, amount: float) -> np.ndarray:
    """The head turned by ``amount`` degrees about each axis through the middle, and shifted by as many mm along it."""
    if not amount:
        return data
    middle = affine @ [*((np.array(data.shape) - 1) / 2), 1.0]
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", [amount] * 3, degrees=True).as_matrix()
    motion[:3, 3] = middle[:3] - motion[:3, :3] @ middle[:3] + amount
    return ndimage.affine_transform(data, np.linalg.inv(affine) @ motion @ affine, order=5, mode="nearest")


if __name__ == "__main__":
    main()
