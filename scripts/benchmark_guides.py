"""What a guide adds: a scan restored alone, with its guide, with one that is 1 mm off, and by a guided filter.

Pairs are of three kinds. ``--tissue``: heads of tissues (focvs/acquisition/tissue_head.py), a T1w guide of a T2w or a
FLAIR scan, each with texture, bias field and noise of its own. ``--labels``: label maps that no training saw, painted
in two random contrasts. ``--pair``: two real scans of one head; every second, or third, slice of the scan is left out,
and the slices left out, which were measured, are what the restored volume is scored on. Of whole heads the middle is
restored.

    python scripts/benchmark_guides.py checkpoints/mean2d --tissue 0 1 --labels LABEL_MAPS --csv docs/results/guides.csv
    python scripts/benchmark_guides.py checkpoints/mean2d --pair T2w.nii.gz T1w.nii.gz --csv docs/results/guides.csv
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator
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
from focvs.reconstruction.problem import Problem
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.isotropic import FWHM
from focvs.scan.nifti import axis_last, read_nifti, write_nifti
from focvs.scan.scan import read_scan
from focvs.scan.units import IntensityUnits, white_level
from focvs.training.cache import load_volume
from focvs.training.pool import PoolPlan, VolumePool

COLUMNS = ("pair", "slices_mm", "method", "psnr_db", "ssim")
SHIFT_MM = 1.0
BOX = 32  # voxels of the first axis that are restored of a whole head


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
        """The mean ``(p, q, n)``; ``guide`` is in prior units, None for the second stage."""
        units = IntensityUnits(white)
        y = units.to_prior(torch.from_numpy(scan))
        start = y @ interpolation_matrix(operator).float().T
        with torch.inference_mode():
            mean = operator.replace(mean_of_planes(self.first, start, start).double(), y.double()).float()
            last, told = self.second, tuple[Tensor, ...]()
            if guide is not None:
                seen = operator(guide) @ interpolation_matrix(operator).float().T
                last, told = self.guided, (start + guided_detail(start, guide, seen), guide)
            mean = operator.replace(mean_of_planes(last, start, mean, told=told).double(), y.double()).float()
        return units.from_prior(mean)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--guided", type=Path, help="weights of the guided stage, if not those within the folder")
    parser.add_argument(
        "--slices", nargs="+", default=["3:3", "4:4", "5:6", "6:6", "8:8"], help="thickness:spacing, mm"
    )
    parser.add_argument("--tissue", nargs="*", type=int, default=[], help="seeds of heads of tissues")
    parser.add_argument("--labels", nargs="*", type=Path, default=[], help="label maps")
    parser.add_argument("--pair", nargs=2, action="append", type=Path, default=[], metavar=("SCAN", "GUIDE"))
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


class Scene:
    """A pair under one acquisition, cut to the field of view of its slices."""

    def __init__(self, cascade: Cascade, pair: Pair, slices: str):
        thickness, spacing = map(float, slices.split(":"))
        self.cascade, self.pair, self.profile, self.spacing = cascade, pair, gaussian_profile(thickness), spacing
        count, voxel = self.degrade(pair.truth).shape[-1], pair.voxel_mm
        grid = make_grid(count, spacing, voxel, self.profile.half_support_mm, keep_extent=False)
        self.operator = ThroughPlaneOperator(self.profile, grid, "edge")
        first = (pair.truth.shape[-1] - grid.voxels) // 2  # fields of view have one middle
        self.within = slice(first, first + grid.voxels)
        self.truth, self.guide = (np.ascontiguousarray(v[..., self.within]) for v in (pair.truth, pair.guide))
        self.white, self.own = white_level(self.truth), white_level(self.guide)
        self.head = head_mask(self.truth, self.white)

    def degrade(self, whole: np.ndarray) -> np.ndarray:
        return simulate_slices(whole, self.pair.voxel_mm, self.profile, self.spacing)

    def scan(self, truth: np.ndarray) -> np.ndarray:
        """Slices of another volume in the place of the truth."""
        whole = self.pair.truth.copy()
        whole[..., self.within] = truth
        return self.degrade(whole)

    def restored(self, truth: np.ndarray, guide: np.ndarray | None) -> np.ndarray:
        told = None if guide is None else IntensityUnits(self.own).to_prior(torch.from_numpy(guide))
        return self.cascade(self.scan(truth), self.operator, self.white, told).numpy()

    def filtered(self, guide: np.ndarray | None) -> np.ndarray:
        """By the guided filter, or without a guide the spline and one replacement."""
        y = torch.from_numpy(self.scan(self.truth) / self.white)
        voxel = self.pair.voxel_mm
        problem = Problem(y, self.operator, torch.ones_like(y, dtype=torch.bool), in_plane_mm=(voxel, voxel))
        if guide is None:
            return problem.interpolated.numpy() * self.white
        return guided_filter(replace(problem, guide=torch.from_numpy(guide / self.own))).numpy() * self.white


def score(cascade: Cascade, pair: Pair, slices: str) -> list[dict[str, str]]:
    """Rows of all methods."""
    scene = Scene(cascade, pair, slices)
    truth, guide = scene.truth, scene.guide
    moved = ndimage.shift(guide, [SHIFT_MM / pair.voxel_mm / 3**0.5] * 3, order=3, mode="nearest")
    absent = np.zeros_like(guide)  # air, as where a guide's field of view ends
    found = {
        "spline + replacement": scene.filtered(None),
        "guided filter": scene.filtered(guide),
        "guided filter, 1 mm off": scene.filtered(moved),
        "no guide": scene.restored(truth, None),
        "guided stage, no guide": scene.restored(truth, absent),
        "guide": scene.restored(truth, guide),
        "guide, 1 mm off": scene.restored(truth, moved),
    }
    return [row(pair.name, slices, name, truth, image, scene.head, scene.white) for name, image in found.items()]


def row(
    pair: str, slices: str, method: str, truth: np.ndarray, image: np.ndarray, mask: np.ndarray, white: float
) -> dict[str, str]:
    psnr = peak_signal_to_noise(truth, image, mask, white)
    ssim = structural_similarity(truth, image, mask, white)
    return dict(zip(COLUMNS, (pair, slices, method, f"{psnr:.2f}", f"{ssim:.4f}"), strict=True))


class LeftOut:
    """A scan of which every second, or third, slice is kept: those left out were measured.

    Args:
        path: of the scan.
        every: which slice is kept.
    """

    def __init__(self, path: Path, every: int):
        self.scan, self.every = read_scan(path), every
        self.thickness_mm, self.white = self.scan.spacing_mm, white_level(self.scan.data)
        self.kept = np.arange(0, self.scan.data.shape[-1] - every + 1, every)
        self.missing = np.setdiff1d(np.arange(self.kept[0], self.kept[-1]), self.kept)
        self.truth, self.head = self.scan.data[..., self.missing], self.scan.head[..., self.missing]
        self.slices = f"{self.thickness_mm:.3g}:{every * self.thickness_mm:.3g}"

    def write(self, path: Path) -> None:
        """The scan of the slices that are kept."""
        affine = self.scan.affine.copy()
        affine[:3, 2] *= self.every
        write_nifti(path, self.scan.data[..., self.kept], affine, self.scan.header)

    def restore(self, folder: Path, *words: str) -> dict[str, Path]:
        """Files that the command makes of the slices that are kept."""
        self.write(folder / f"{self.scan.stem}.nii.gz")
        given = [f"scan={quote(str(folder / f'{self.scan.stem}.nii.gz'))}", f"output_dir={quote(f'{folder}/out')}"]
        given += [f"thickness={self.thickness_mm}", "overwrite=true", "progress=false", "figure=false", "report=false"]
        return super_resolve(to_schema(compose("config", [*given, *words])))

    def shown(self, path: Path, *, as_slices: bool = True) -> np.ndarray:
        """What a volume shows where slices were left out, of their thickness or ``as_slices=False`` of its voxels."""
        volume, placed = axis_last(*read_nifti(path)[:2], self.scan.file_axis)
        if as_slices:
            sigma = self.thickness_mm / FWHM / float(np.linalg.norm(placed[:3, 2]))
            volume = ndimage.gaussian_filter1d(volume, sigma, axis=-1, mode="nearest")
        start = np.linalg.inv(placed) @ self.scan.affine
        places = start[2, 2] * self.missing + start[2, 3]
        below = np.floor(places).astype(int)
        share = places - below
        return np.asarray(volume[..., below] * (1 - share) + volume[..., below + 1] * share)


def score_real(path: Path, guide: Path, every: int) -> list[dict[str, str]]:
    """Every second, or third, slice of a scan restored by the command, scored on the slices that were left out."""
    thinned = LeftOut(path, every)
    rows = []
    for method, words in {
        "spline": ["method=spline"],
        "guided filter": ["method=guided_filter", f"guide={quote(str(guide))}"],
        "no guide": [],
        "guide": [f"guide={quote(str(guide))}"],
    }.items():
        with tempfile.TemporaryDirectory() as name:
            lines = thinned.shown(thinned.restore(Path(name), *words)["mean"])
        pair = f"{thinned.scan.stem} by {image_stem(guide)}"
        rows.append(row(pair, thinned.slices, method, thinned.truth, lines, thinned.head, thinned.white))
    return rows


if __name__ == "__main__":
    main()
