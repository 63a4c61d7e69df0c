"""What intervals hold with a guide: the share of true intensities of the head between q05 and q95.

Pairs are those of scripts/benchmark_guides.py, restored by the command alone, with their guide, and simulated ones with
one that is 1 mm off; spacings are multiples of the voxels, so that truth and result have one grid. Of a real pair every
second slice is kept, and the interval of a voxel at the middle of a slice that was left out is held against that slice,
as the mean is, of its thickness.

    python scripts/guide_intervals.py --tissue 0 --labels LABEL_MAPS --pair T2w.nii.gz T1w.nii.gz \\
        --csv docs/results/guide_intervals.csv
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

from benchmark_guides import SHIFT_MM, LeftOut, Pair, label_pairs, tissue_pairs
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.commands.overrides import compose, quote, to_schema
from focvs.files import write_csv
from focvs.pipeline import super_resolve
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.nifti import read_nifti
from focvs.scan.units import white_level

COLUMNS = ("pair", "slices_mm", "guide", "held_percent", "spread_over_error", "rank_correlation")
VOXELS = (4, 6)  # of a spacing
KEYS = ("mean", "std", "q05", "q95")
GUIDES = ("none", "guide", "guide, 1 mm off")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissue", nargs="*", type=int, default=[], help="seeds of heads of tissues")
    parser.add_argument("--labels", nargs="*", type=Path, default=[], help="label maps")
    parser.add_argument("--pair", nargs=2, action="append", type=Path, default=[], metavar=("SCAN", "GUIDE"))
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    rows = []
    for pair in [*tissue_pairs(options.tissue), *label_pairs(options.labels)]:
        for count in VOXELS:
            spacing = f"{count * pair.voxel_mm:.3g}"
            rows += rows_of(pair.name, f"{spacing}:{spacing}", held(pair, count))
    for scan, guide in options.pair:
        thinned = LeftOut(scan, every=2)
        rows += rows_of(f"{thinned.scan.stem} by {image_stem(guide)}", thinned.slices, held_by_slices(thinned, guide))
    if options.csv:
        write_csv(options.csv, rows, COLUMNS)


Found = Iterator[tuple[str, tuple[str, str, str]]]


def rows_of(pair: str, slices: str, found: Found) -> list[dict[str, str]]:
    rows = []
    for guide, numbers in found:
        rows.append(dict(zip(COLUMNS, (pair, slices, guide, *numbers), strict=True)))
        print("  ".join(rows[-1].values()), flush=True)
    return rows


def held(pair: Pair, count: int) -> Found:
    """By guide, in a spacing of so many voxels: what :func:`judge` says."""
    for name, truth, head, paths in restorations(pair, count):
        yield name, judge(truth, head, *(read_nifti(paths[key])[0] for key in KEYS))


def held_by_slices(thinned: LeftOut, guide: Path) -> Found:
    """Without and with a guide: what :func:`judge` says of the slices that were left out."""
    for name, words in zip(GUIDES[:2], ([], [f"guide={quote(str(guide))}"]), strict=True):
        with tempfile.TemporaryDirectory(prefix="focvs-") as folder:
            paths = thinned.restore(Path(folder), *words)
            shown = [thinned.shown(paths[key], as_slices=key == "mean") for key in KEYS]
        yield name, judge(thinned.truth, thinned.head, *shown)


def judge(
    truth: np.ndarray, head: np.ndarray, mean: np.ndarray, std: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[str, str, str]:
    """Per cent held, spread over error, rank correlation of both."""
    inside, error = head & (std > 0), np.abs(mean - truth)
    share = ((low <= truth) & (truth <= high))[inside].mean()
    spread = np.sqrt(np.mean(std[inside] ** 2) / np.mean(error[inside] ** 2))
    ranks = [values[inside].argsort().argsort() for values in (std, error)]
    return f"{100 * share:.1f}", f"{spread:.2f}", f"{np.corrcoef(*ranks)[0, 1]:.2f}"


def restorations(
    pair: Pair, count: int, told: Sequence[str] = (), guides: Sequence[str] = GUIDES
) -> Iterator[tuple[str, np.ndarray, np.ndarray, dict[str, Path]]]:
    """Name of the guide, truth, head, and the files that the command wrote, for each of the guides in turn.

    Args:
        pair: truth and guide.
        count: voxels of a spacing.
        told: further words of the command.
        guides: names, some of :data:`GUIDES`.

    Raises:
        ValueError: where voxels and slices have no common grid.
    """
    voxel, spacing = pair.voxel_mm, count * pair.voxel_mm
    whole = pair.truth[..., : pair.truth.shape[-1] - pair.truth.shape[-1] % count % 2]
    slices = simulate_slices(1000 * whole, voxel, gaussian_profile(spacing), spacing)
    first, odd = divmod(whole.shape[-1] - count * slices.shape[-1], 2)  # fields of view have one middle
    if odd:
        raise ValueError(f"{whole.shape[-1]} voxels and {slices.shape[-1]} slices of {count} have no common grid")
    within = slice(first, first + count * slices.shape[-1])
    truth, guide = 1000 * whole[..., within], pair.guide[..., within]
    head = head_mask(truth, white_level(truth))
    with tempfile.TemporaryDirectory(prefix="focvs-") as folder:
        scan, beside = Path(folder) / "scan.nii.gz", Path(folder) / "guide.nii.gz"
        save(scan, slices, np.diag([voxel, voxel, spacing, 1.0]))
        thin = np.diag([voxel, voxel, voxel, 1.0])
        thin[2, 3] = -(count - 1) / 2 * voxel
        for name in guides:
            words = [f"scan={quote(str(scan))}", f"output_dir={quote(f'{folder}/out')}", f"thickness={spacing}"]
            words += ["progress=false", "figure=false", "report=false", "overwrite=true", *told]
            if name != GUIDES[0]:
                off = SHIFT_MM / voxel / 3**0.5 if name == GUIDES[2] else 0.0
                save(beside, ndimage.shift(guide, [off] * 3, order=3, mode="nearest") if off else guide, thin)
                words += [f"guide={quote(str(beside))}", "align=headers"]
            paths = super_resolve(to_schema(compose("config", words)))
            shape = nib.load(paths["mean"]).shape
            if shape != truth.shape:
                raise ValueError(f"the result has {shape} voxels and the truth {truth.shape}")
            yield name, truth, head, paths


def save(path: Path, data: np.ndarray, affine: np.ndarray) -> None:
    image = nib.Nifti1Image(data.astype(np.float32), affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


if __name__ == "__main__":
    main()
