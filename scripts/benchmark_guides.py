"""What a guide adds: PSNR and SSIM of a scan restored alone, with its guide, with a shifted one, and by a guided filter.

Pairs are of three kinds. ``tissue``: heads of tissues (focvs/acquisition/tissue_head.py), a T1w guide of a T2w or FLAIR
scan, each with texture, bias field and noise of its own. ``labels``: label maps that no training saw, painted in two
random contrasts. ``real``: two real scans of one head (``--pair SCAN GUIDE``); every second (or third) slice of the scan
is left out, and the slices left out, which were measured, are what the restored volume is scored on.

    python scripts/benchmark_guides.py checkpoints/mean2d --tissue 0 1 --labels LABEL_MAPS --csv docs/results/guides.csv
    python scripts/benchmark_guides.py checkpoints/mean2d --pair T2w.nii.gz T1w.nii.gz --csv docs/results/guides.csv
    python scripts/benchmark_guides.py checkpoints/mean2d --lesions 0 1 2
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from focvs.acquisition.grid import make_grid
from focvs.acquisition.guided_filter import guided_detail
from focvs.acquisition.interpolation import interpolation_matrix
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.acquisition.tissue_head import tissue_head
from focvs.commands.overrides import compose, quote, to_schema
from focvs.evaluation.metrics import peak_signal_to_noise, structural_similarity
from focvs.files import write_csv
from focvs.pipeline import super_resolve
from focvs.priors.mean import SlabDenoiser, mean_of_planes
from focvs.priors.mean_network import MeanUNet2D
from focvs.priors.prior import Inference
from focvs.reconstruction.baselines import guided_filter
from focvs.reconstruction.guide import AIR
from focvs.reconstruction.problem import Problem
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.nifti import axis_last, read_nifti, write_nifti
from focvs.scan.scan import read_scan
from focvs.scan.units import IntensityUnits, white_level
from focvs.training.cache import load_volume
from focvs.training.pool import PoolPlan, VolumePool

COLUMNS = ("pair", "slices_mm", "method", "psnr_db", "ssim")
SHIFT_MM = 1.0
BOX = 32  # voxels of the first axis that are restored of a whole head
SIZES_MM = (3.0, 5.0, 8.0, 12.0)  # diameters of lesions


@dataclass(frozen=True, eq=False)
class Pair:
    """Two contrasts of one head ``(p, q, n)`` on one grid of isotropic voxels."""

    name: str
    truth: np.ndarray
    guide: np.ndarray
    voxel_mm: float


class Cascade:
    """First stage, then the second, or the guided one in its place."""

    def __init__(self, folder: Path, guided: Path | None = None):
        def load(name: Path) -> Inference:
            return Inference(SlabDenoiser(MeanUNet2D.from_pretrained(name)), "cpu", torch.bfloat16)

        self.first, self.second = load(folder), load(folder / "stage2")
        self.guided = load(guided or folder / "guided")

    def __call__(self, scan: np.ndarray, operator: ThroughPlaneOperator, white: float, guide: Tensor | None) -> Tensor:
        """The mean ``(p, q, n)`` in the intensities of the scan; ``guide`` in prior units, None for the second stage."""
        units = IntensityUnits(white)
        y = units.to_prior(torch.from_numpy(scan))
        start = y @ interpolation_matrix(operator).float().T
        with torch.inference_mode():
            mean = operator.replace(mean_of_planes(self.first, start, start).double(), y.double()).float()
            last, told = self.second, ()
            if guide is not None:
                seen = operator(guide) @ interpolation_matrix(operator).float().T
                last, told = self.guided, (start + guided_detail(start, guide, seen), guide)
            mean = operator.replace(mean_of_planes(last, start, mean, told=told).double(), y.double()).float()
        return units.from_prior(mean)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--guided", type=Path, help="weights of the guided stage, if not those within the folder")
    parser.add_argument("--slices", nargs="+", default=["3:3", "4:4", "5:6", "6:6", "8:8"], help="thickness:spacing, mm")
    parser.add_argument("--tissue", nargs="*", type=int, default=[], help="seeds of heads of tissues")
    parser.add_argument("--labels", nargs="*", type=Path, default=[], help="label maps")
    parser.add_argument("--pair", nargs=2, action="append", type=Path, default=[], metavar=("SCAN", "GUIDE"))
    parser.add_argument("--lesions", nargs="*", type=int, default=[], help="seeds of heads with lesions in one of both")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    cascade = Cascade(options.weights, options.guided)
    rows = list(read_rows(options.csv))
    print(f"{'pair':34s} {'slices mm':>9s} {'method':24s} {'PSNR dB':>8s} {'SSIM':>7s}")
    for pair in [*tissue_pairs(options.tissue), *label_pairs(options.labels)]:
        for slices in options.slices:
            rows = keep(rows, score(cascade, pair, slices))
    for scan, guide in options.pair:
        for every in (2, 3):
            rows = keep(rows, score_real(scan, guide, every))
    if options.csv and rows:
        write_csv(options.csv, rows, COLUMNS)
    if options.lesions:
        print_lesions(cascade, options.lesions)


def read_rows(path: Path | None) -> Iterator[dict[str, str]]:
    if path and path.is_file():
        with path.open(newline="") as stream:
            yield from csv.DictReader(stream)


def keep(rows: list[dict[str, str]], found: list[dict[str, str]]) -> list[dict[str, str]]:
    """Print what was found, in the place of earlier rows of the same pair, slices and method."""
    for row in found:
        print(
            f"{row['pair']:34s} {row['slices_mm']:>9s} {row['method']:24s} {row['psnr_db']:>8s} {row['ssim']:>7s}",
            flush=True,
        )
    names = [[row[key] for key in COLUMNS[:3]] for row in found]
    return [row for row in rows if [row[key] for key in COLUMNS[:3]] not in names] + found


def tissue_pairs(seeds: list[int]) -> Iterator[Pair]:
    for seed in seeds:
        guide = tissue_head("T1w", seed, texture_seed=1)[1]
        for contrast in ("T2w", "FLAIR"):
            truth = tissue_head(contrast, seed, texture_seed=2)[0]
            middle = slice((len(truth) - BOX) // 2, (len(truth) + BOX) // 2)
            yield Pair(f"tissue {seed} {contrast} by T1w", truth[middle], guide[middle], 1.2)


def label_pairs(paths: list[Path]) -> Iterator[Pair]:
    for number, path in enumerate(paths):
        plan = PoolPlan({"labels": 1.0}, voxel_range_mm=(1.0, 1.0), deformation=0.0, second_contrast=True)
        pool = VolumePool([load_volume(path, "labels")], plan)
        truth, guide = pool.paint(load_volume(path, "labels"), np.random.default_rng(number))
        assert guide is not None
        middle = slice((len(truth) - BOX) // 2, (len(truth) + BOX) // 2)
        yield Pair(f"labels {image_stem(path)}", *(v[middle].astype(np.float32) for v in (truth, guide)), 1.0)


def model(shape: tuple[int, ...], slices: str, voxel_mm: float) -> tuple[ThroughPlaneOperator, Callable[..., np.ndarray]]:
    """Forward model of slices, and what makes them of a volume."""
    thickness, spacing = map(float, slices.split(":"))
    profile = gaussian_profile(thickness)
    count = len(simulate_slices(np.zeros((1, 1, shape[-1]), np.float32), voxel_mm, profile, spacing)[0, 0])
    grid = make_grid(count, spacing, voxel_mm, profile.half_support_mm, keep_extent=False)
    operator = ThroughPlaneOperator(profile, grid, "edge")
    return operator, lambda volume: simulate_slices(volume, voxel_mm, profile, spacing)


def score(cascade: Cascade, pair: Pair, slices: str) -> list[dict[str, str]]:
    """Rows of all methods."""
    operator, degrade = model(pair.truth.shape, slices, pair.voxel_mm)
    scan, voxels = degrade(pair.truth), operator.grid.voxels
    first = (pair.truth.shape[-1] - voxels) // 2  # fields of view have one middle
    within = slice(first, first + voxels)
    truth, guide = pair.truth[..., within], pair.guide[..., within]
    white, own = white_level(truth), white_level(guide)
    told = IntensityUnits(own).to_prior(torch.from_numpy(np.ascontiguousarray(guide)))
    moved = ndimage.shift(guide, [SHIFT_MM / pair.voxel_mm / 3**0.5] * 3, order=3, mode="nearest")
    shifted = IntensityUnits(own).to_prior(torch.from_numpy(moved))
    y = torch.from_numpy(scan / white)
    problem = Problem(y, operator, torch.ones_like(y, dtype=torch.bool), in_plane_mm=(pair.voxel_mm,) * 2)

    def filtered(volume: np.ndarray) -> np.ndarray:
        return guided_filter(replace(problem, guide=torch.from_numpy(volume / own))).numpy() * white

    found = {
        "spline + replacement": problem.interpolated.numpy() * white,
        "guided filter": filtered(guide),
        "guided filter, 1 mm off": filtered(moved),
        "no guide": cascade(scan, operator, white, None).numpy(),
        "guided stage, no guide": cascade(scan, operator, white, torch.full_like(told, AIR)).numpy(),
        "guide": cascade(scan, operator, white, told).numpy(),
        "guide, 1 mm off": cascade(scan, operator, white, shifted).numpy(),
    }
    mask = head_mask(truth, white)
    return [row(pair.name, slices, name, truth, image, mask, white) for name, image in found.items()]


def row(
    pair: str, slices: str, method: str, truth: np.ndarray, image: np.ndarray, mask: np.ndarray, white: float
) -> dict[str, str]:
    psnr = peak_signal_to_noise(truth, image, mask, white)
    ssim = structural_similarity(truth, image, mask, white)
    return dict(zip(COLUMNS, (pair, slices, method, f"{psnr:.2f}", f"{ssim:.4f}"), strict=True))


def score_real(path: Path, guide: Path, every: int) -> list[dict[str, str]]:
    """Every second, or third, slice of a scan restored by the command, scored on the slices that were left out."""
    scan = read_scan(path)
    white, kept = white_level(scan.data), np.arange(0, scan.data.shape[-1] - every + 1, every)
    affine = scan.affine.copy()
    affine[:3, 2] *= every
    thickness, found = scan.spacing_mm, {}
    with tempfile.TemporaryDirectory() as name:
        thin = Path(name) / f"{scan.stem}.nii.gz"
        write_nifti(thin, scan.data[..., kept], affine, scan.header)
        for method, words in {
            "spline": ["method=spline"],
            "guided filter": ["method=guided_filter", f"guide={quote(str(guide))}"],
            "no guide": [],
            "guide": [f"guide={quote(str(guide))}"],
        }.items():
            given = [f"scan={quote(str(thin))}", f"output_dir={quote(name + '/out')}", f"thickness={thickness}"]
            given += ["progress=false", "figure=false", "report=false", *words]
            paths = super_resolve(to_schema(compose("config", given)))
            found[method] = axis_last(*read_nifti(paths["mean"])[:2], scan.file_axis)
    left_out = np.setdiff1d(np.arange(kept[0], kept[-1]), kept)
    truth, mask = scan.data[..., left_out], scan.head[..., left_out]
    name = f"{scan.stem} by {image_stem(guide)}"
    slices = f"{thickness:.3g}:{every * thickness:.3g}"
    rows = []
    for method, (volume, placed) in found.items():
        voxel = float(np.linalg.norm(placed[:3, 2]))
        blurred = ndimage.gaussian_filter1d(volume, thickness / 2.3548 / voxel, axis=-1, mode="nearest")
        start = np.linalg.inv(placed) @ scan.affine
        places = start[2, 2] * left_out + start[2, 3]
        lines = np.stack([blurred[..., int(np.floor(p))] * (1 - p % 1) + blurred[..., int(np.floor(p)) + 1] * (p % 1)
                          for p in places], axis=-1)
        rows.append(row(name, slices, method, truth, lines, mask, white))
    return rows


def print_lesions(cascade: Cascade, seeds: list[int], slices: str = "5:6") -> None:
    """How much of a lesion that only the scan, or only the guide, shows is in the result, by size."""
    print(f"\n{'lesion mm':>9s} {'only in the scan: kept without guide':>37s} {'with':>7s} {'only in the guide: painted':>27s}")
    for size in SIZES_MM:
        kept: list[float] = []
        held: list[float] = []
        leaked: list[float] = []
        for seed in seeds:
            (pair, _) = tissue_pairs([seed])
            operator, degrade = model(pair.truth.shape, slices, pair.voxel_mm)
            first = (pair.truth.shape[-1] - operator.grid.voxels) // 2
            within = slice(first, first + operator.grid.voxels)
            truth, guide = (np.ascontiguousarray(v[..., within]) for v in (pair.truth, pair.guide))
            white, own = white_level(truth), white_level(guide)
            rng = np.random.default_rng(seed)
            lesion, core = spheres(truth, size / pair.voxel_mm, head_mask(truth, white), rng)
            blot, inner = spheres(truth, size / pair.voxel_mm, head_mask(truth, white) & (lesion < 0.01), rng)
            bright = truth + lesion * (0.9 * white - truth)
            odd = guide + blot * (0.95 * own - guide)
            told, plain = (IntensityUnits(own).to_prior(torch.from_numpy(g)) for g in (odd, guide))

            def restored(volume: np.ndarray, told: Tensor | None) -> np.ndarray:
                whole = np.zeros(pair.truth.shape, np.float32)
                whole[...] = pair.truth
                whole[..., within] = volume
                return cascade(degrade(whole), operator, white, told).numpy()

            change = (bright - truth)[core].mean()
            kept.append(float((restored(bright, None) - restored(truth, None))[core].mean() / change))
            held.append(float((restored(bright, plain) - restored(truth, plain))[core].mean() / change))
            painted = (restored(truth, told) - restored(truth, plain))[inner].mean() / white
            leaked.append(float(painted / ((odd - guide)[inner].mean() / own)))
        print(
            f"{size:9.0f} {100 * np.mean(kept):35.1f} % {100 * np.mean(held):5.1f} % {100 * np.mean(leaked):25.1f} %",
            flush=True,
        )


def spheres(
    image: np.ndarray, diameter: float, head: np.ndarray, rng: np.random.Generator, count: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of soft-edged balls at random places well inside the head, and which voxels are more than half in one."""
    deep = ndimage.binary_erosion(head, iterations=16)
    places = np.argwhere(deep)[rng.permutation(int(deep.sum()))[:count]]
    share = np.zeros(image.shape, dtype=np.float32)
    index = np.indices(image.shape)
    for place in places:
        distance = np.sqrt(((index - place[:, None, None, None]) ** 2).sum(0))
        share = np.maximum(share, np.clip(diameter / 2 - distance + 0.5, 0, 1)).astype(np.float32)
    return share, share > 0.5


if __name__ == "__main__":
    main()
