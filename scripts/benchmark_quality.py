r"""Quality against the truth: ``python scripts/benchmark_quality.py TRUTH [TRUTH ...] [options]``.

Each thin-slice volume is degraded by ``focvs simulate`` along its superior-inferior axis, restored with the voxel
size of the truth, and scored in the head mask (PSNR in dB and SSIM, intensities scaled by the 99.5th percentile)
beside cubic B-spline and B-spline + one exact replacement. Each ``--run`` names a set of overrides of
conf/config.yaml, ``{spacing}`` standing for that of the scan; several make a table of methods. Anything after ``--``
holds for every run. With ``--box`` only the middle of the head is restored and scored; a run with
``adapt=true`` still adapts to the slices of the whole scan, its seconds those of the adaptation and of the box, one
with ``thickness=estimate`` estimates it on the whole scan, and one with ``method=self_super_resolution`` learns from
the whole scan.
With ``--csv`` rows that the file has already are not computed again.

    python scripts/benchmark_quality.py $FOCVS_DATA/eval/isotropic/adi_T1w.nii.gz --slices 4:4 4:5.2 6:6
    python scripts/benchmark_quality.py ... --noise 0.01 --run "calibrated:" --run "ddnm: consistency=ddnm" \
        -- quality=samples samples=2
    python scripts/benchmark_quality.py ... --run "true:" --run "estimated: thickness=estimate" \
        --run "header: thickness={spacing}"
    python scripts/benchmark_quality.py ... --seeds 0 1 2 --noise 0.01 --run "2D:" --run "adapted: adapt=true" \
        -- quality=samples
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from omegaconf import OmegaConf

from focvs.acquisition.interpolation import spline_matrix
from focvs.commands.overrides import compose, quote, split_overrides
from focvs.commands.simulate import simulate_scan
from focvs.commands.sweep import crop_for_grid
from focvs.config import SimulateConfig, parse_auto
from focvs.evaluation.metrics import peak_signal_to_noise, structural_similarity
from focvs.pipeline import super_resolve
from focvs.reconstruction.adapt import adapt_prior
from focvs.reconstruction.case import Case
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.setup import choose_device, open_prior
from focvs.reconstruction.thickness import estimate_thickness
from focvs.run_config import RunConfig
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.nifti import axis_along, axis_last, read_nifti, write_nifti
from focvs.scan.scan import Scan, read_scan
from focvs.scan.slices import take_slices
from focvs.scan.units import white_level

WITHOUT_PRIOR = ("B-spline", "B-spline + replacement")


def main() -> None:
    arguments, overrides = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--slices", nargs="+", default=["4:4", "4:5.2", "6:6"], help="thickness:spacing in mm")
    parser.add_argument("--run", action="append", help="NAME: overrides, may be given several times")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of the scan's noise")
    parser.add_argument("--noise", type=float, default=0.0, help="noise of the scan, fraction of the 99.5th percentile")
    parser.add_argument("--rician", action="store_true", help="magnitudes: the scan's noise is Rician, not Gaussian")
    parser.add_argument("--box", type=int, default=0, help="restore only this many middle voxels of the first axis")
    parser.add_argument("--csv", type=Path, help="file that keeps the rows")
    options = parser.parse_args(arguments)
    runs = {}
    for word in options.run or ["FOCVS:"]:
        name, _, rest = word.partition(":")
        runs[name.strip()] = [*overrides, *rest.split()]
    print(
        f"{'truth':12s} {'slices mm':9s} {'seed':>4s} {'method':28s} {'PSNR dB':>8s} {'SSIM':>7s} {'seconds':>8s}",
        flush=True,
    )
    kept = Results(options.csv)
    gathered: dict[tuple[str, str, str], list[tuple[float, float]]] = {}
    for truth in options.truth:
        for slices in options.slices:
            for seed in options.seeds:
                for row in run_case(truth, slices, seed, options, runs, kept):
                    psnr, ssim = float(row["psnr_db"]), float(row["ssim"])
                    gathered.setdefault((row["truth"], slices, row["method"]), []).append((psnr, ssim))
                    print(
                        f"{row['truth']:12s} {slices:9s} {seed:4d} {row['method']:28s} {psnr:8.2f} {ssim:7.4f} "
                        f"{float(row['seconds']):8.1f}",
                        flush=True,
                    )
    if len(options.seeds) > 1:
        print(f"mean over {len(options.seeds)} noise seeds")
        for (stem, slices, method), scores in gathered.items():
            psnr, ssim = np.mean(scores, axis=0)
            spread = np.std([p for p, _ in scores], ddof=1)
            print(f"{stem:12s} {slices:9s} {method:28s} {psnr:8.2f} +- {spread:.2f} {ssim:7.4f}")


class Results:
    """Rows by what they are the result of, kept in a file where one is given."""

    keys = ("truth", "slices", "noise", "box", "seed", "method", "overrides", "prior")
    columns = (*keys, "psnr_db", "ssim", "seconds")

    def __init__(self, path: Path | None):
        self.path, self.rows = path, {}
        self.read()

    def read(self) -> None:
        """Take over what the file has, perhaps from another process."""
        if self.path is not None and self.path.is_file():
            with self.path.open(newline="") as stream:
                self.rows |= {tuple(row[key] for key in self.keys): row for row in csv.DictReader(stream)}

    def find(self, case: dict[str, object]) -> dict[str, str] | None:
        """The row of a case, or None."""
        return self.rows.get(tuple(str(case[key]) for key in self.keys))

    def add(self, case: dict[str, object], psnr: float, ssim: float, seconds: float) -> dict[str, str]:
        """Append a row, unless another process has meanwhile."""
        self.read()
        if kept := self.find(case):
            return kept
        row = {key: str(value) for key, value in case.items()}
        row |= {"psnr_db": f"{psnr:.4f}", "ssim": f"{ssim:.5f}", "seconds": f"{seconds:.1f}"}
        self.rows[tuple(row[key] for key in self.keys)] = row
        if self.path is not None:
            fresh = not self.path.is_file()
            with self.path.open("a", newline="") as stream:
                writer = csv.DictWriter(stream, self.columns, lineterminator="\n")
                if fresh:
                    writer.writeheader()
                writer.writerow(row)
        return row


def run_case(
    truth_path: Path,
    slices: str,
    seed: int,
    options: argparse.Namespace,
    runs: dict[str, list[str]],
    kept: Results,
) -> Iterator[dict[str, str]]:
    thickness, spacing = map(float, slices.split(":"))
    noise = f"{options.noise} Rician" if options.rician else options.noise
    common = {"truth": image_stem(truth_path), "slices": slices, "noise": noise, "box": options.box}
    cases = {
        method: common | {"seed": seed, "method": method, "overrides": " ".join(words), "prior": hash_of_prior(words)}
        for method, words in runs.items()
    }
    cases = {
        name: common | {"seed": seed, "method": name, "overrides": "", "prior": ""} for name in WITHOUT_PRIOR
    } | cases
    if all(kept.find(case) for case in cases.values()):
        yield from (row for case in cases.values() if (row := kept.find(case)))
        return
    whole, header, axis = cropped(truth_path, spacing)
    voxel = float(np.linalg.norm(whole[1][:3, axis]))
    data, affine = middle_box(*whole, options.box) if options.box else whole
    scale = white_level(data)
    mask = head_mask(np.moveaxis(data, axis, -1), scale)
    truth = np.moveaxis(data, axis, -1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def simulate(stem: str, volume: np.ndarray, placed: np.ndarray) -> Scan:
            write_nifti(folder / f"{stem}_truth.nii.gz", volume, placed, header)
            path = folder / f"{stem}.nii.gz"
            noisy = {"noise": options.noise, "rician": options.rician, "seed": seed}
            return degrade(folder / f"{stem}_truth.nii.gz", path, thickness, spacing, **noisy)

        scan = simulate("scan", data, affine)
        whole_scan = simulate("whole", *whole) if options.box else scan

        def score(estimate: np.ndarray) -> tuple[float, float]:
            return (
                peak_signal_to_noise(truth, estimate, mask, scale),
                structural_similarity(truth, estimate, mask, scale),
            )

        def configure(scanned: Scan, words: list[str]) -> RunConfig:
            places = [f"scan={quote(str(scanned.path))}", f"output_dir={quote(name)}", f"voxel={voxel}"]
            words = [word.replace("{spacing}", str(spacing)) for word in words]
            return OmegaConf.to_object(compose("config", [*places, "figure=false", "report=false", *words]))

        acquisition = model_acquisition(scan, configure(scan, next(iter(runs.values()))))  # it should know the truth
        y = torch.from_numpy(scan.data).double()
        spline = y @ spline_matrix(acquisition.grid, margins=False).T
        simple = dict(zip(WITHOUT_PRIOR, (spline, acquisition.written.replace(spline, y)), strict=True))
        for method, case in cases.items():
            if row := kept.find(case):
                yield row
                continue
            if method in simple:
                yield kept.add(case, *score(simple[method].numpy()), 0.0)
                continue
            config = configure(scan, runs[method])
            spent = 0.0
            if config.method == "self_super_resolution":
                config = configure(whole_scan, runs[method])
            elif options.box:
                if config.thickness == "estimate":
                    config.thickness = estimate_thickness(whole_scan, spacing, config.profile).thickness_mm
                if config.adapt:
                    began = time.monotonic()
                    config.prior.path = str(adapted_to(whole_scan, config, folder / "adapted"))
                    config.adapt, spent = False, time.monotonic() - began
            paths = super_resolve(config)
            seconds = spent + json.loads(paths["json"].read_text())["seconds"]["total"]
            ours, placed, _, _ = read_nifti(paths["mean"])
            if len(ours) > len(data):
                ours, _ = middle_box(ours, placed, options.box)
            yield kept.add(case, *score(axis_last(ours, placed, scan.file_axis)[0]), seconds)


def hash_of_prior(words: list[str]) -> str:
    """The first characters of the hash of the weights a run uses, or nothing for a method without a prior."""
    words = [word.replace("{spacing}", "1") for word in words]
    config: RunConfig = OmegaConf.to_object(compose("config", ["scan=none", *words]))
    return open_prior(config.prior, "cpu").sha256[:8] if config.method == "focvs" else ""


def adapted_to(scan: Scan, config: RunConfig, kept: Path) -> Path:
    """The folder of the prior adapted to a scan."""
    config.adaptation.cache = str(kept)
    device = choose_device(config.device)
    slices = take_slices(scan, parse_auto("noise", config.noise))
    case = Case(scan, slices, model_acquisition(scan, config), open_prior(config.prior, device), device)
    adapt_prior(case, config.adaptation, progress=False)
    found = max(kept.iterdir(), key=lambda folder: folder.stat().st_mtime)
    for part in case.prior.path.parent.iterdir():  # later stages of a mean, which stay
        if part.is_dir():
            shutil.copytree(part, found / part.name)
    return found


def cropped(path: Path, spacing: float) -> tuple[tuple[np.ndarray, np.ndarray], nib.Nifti1Header, int]:
    """A volume and its affine, cropped to slices ``spacing`` mm apart, its header, and its superior-inferior axis."""
    data, affine, header, _ = read_nifti(path)
    axis = axis_along(affine, "inferior-superior")
    return crop_for_grid(data, affine, axis, spacing), header, axis


def degrade(truth: Path, scan: Path, thickness: float, spacing: float, **noisy: float) -> Scan:
    """Write and read the scan of a volume, slices of a Gaussian profile; ``noise=``, ``rician=`` and ``seed=``."""
    simulation = SimulateConfig(str(truth), str(scan), thickness=thickness, spacing=spacing, **noisy)
    simulation.profile.kind = "gaussian"
    return read_scan(simulate_scan(simulation))


def quiet_words(scan: Path, folder: str, voxel: float) -> list[str]:
    """What to restore, where to, into voxels of what size (mm), without a picture or a page."""
    where = [f"scan={quote(str(scan))}", f"output_dir={quote(folder)}", f"voxel={voxel}"]
    return [*where, "figure=false", "report=false"]


def degraded_box(
    truth: Path, slices: str, box: int, folder: Path, noise: float = 0.0
) -> tuple[Scan, np.ndarray, float]:
    """``truth.nii.gz``, the middle ``box`` voxels of a volume (0 = all), and its ``scan.nii.gz`` in a folder.

    Returns:
        The scan, the truth with the slice axis last, and the truth's voxel size along it.
    """
    thickness, spacing = map(float, slices.split(":"))
    (volume, affine), header, axis = cropped(truth, spacing)
    if box:
        volume, affine = middle_box(volume, affine, box)
    folder.mkdir(parents=True, exist_ok=True)
    write_nifti(folder / "truth.nii.gz", volume, affine, header)
    scan = degrade(folder / "truth.nii.gz", folder / "scan.nii.gz", thickness, spacing, noise=noise)
    return scan, np.moveaxis(volume, axis, -1), float(np.linalg.norm(affine[:3, axis]))


def middle_box(data: np.ndarray, affine: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle ``size`` voxels of the first axis."""
    first = (data.shape[0] - size) // 2
    affine = affine.copy()
    affine[:3, 3] += affine[:3, 0] * first
    return data[first : first + size], affine


if __name__ == "__main__":
    main()
