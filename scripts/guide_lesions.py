"""Lesions that only the scan, or only its guide, shows: how much of them is in the result, by size.

python scripts/guide_lesions.py checkpoints/mean2d --csv docs/results/guide_lesions.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from scipy import ndimage

from benchmark_guides import Cascade, Scene, tissue_pairs
from focvs.files import write_csv

COLUMNS = ("diameter_mm", "kept_without_guide_percent", "kept_with_guide_percent", "painted_percent")
SIZES_MM = (3.0, 5.0, 8.0, 12.0)  # diameters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path)
    parser.add_argument("--guided", type=Path, help="weights of the guided stage, if not those within the folder")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1], help="of heads of tissues")
    parser.add_argument("--slices", default="5:6", help="thickness:spacing, mm")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    cascade = Cascade(options.weights, options.guided)
    print(f"\n{'lesion mm':>9s}  only in the scan: kept without guide, with; only in the guide: painted")
    rows = []
    for size in SIZES_MM:
        found = []
        for seed in options.seeds:
            for pair in tissue_pairs([seed]):
                found.append(follow_lesions(Scene(cascade, pair, options.slices), size, seed))
        kept, held, painted = 100 * np.mean(found, axis=0)
        numbers = (f"{size:g}", f"{kept:.1f}", f"{held:.1f}", f"{painted:.1f}")
        rows.append(dict(zip(COLUMNS, numbers, strict=True)))
        print(f"{size:9.0f} {kept:38.1f} % {held:6.1f} % {painted:27.1f} %", flush=True)
    if options.csv:
        write_csv(options.csv, rows, COLUMNS)


def follow_lesions(scene: Scene, size_mm: float, seed: int) -> tuple[float, float, float]:
    """Share of a lesion's contrast that is kept without a guide and with one, and share of one in the guide painted."""
    rng, diameter = np.random.default_rng(seed), size_mm / scene.pair.voxel_mm
    truth, guide, white, own = scene.truth, scene.guide, scene.white, scene.own
    lesion, core = spheres(scene.head, diameter, rng)
    blot, inner = spheres(scene.head & (lesion < 0.01), diameter, rng)
    with_lesion = truth + lesion * (0.95 * white - truth)
    with_blot = guide + blot * (0.95 * own - guide)
    change = (with_lesion - truth)[core].mean()
    kept, held = (
        (scene.restored(with_lesion, told) - scene.restored(truth, told))[core].mean() / change
        for told in (None, guide)
    )
    plain = scene.restored(truth, guide)
    painted = (scene.restored(truth, with_blot) - plain)[inner].mean() / white
    return float(kept), float(held), float(painted / ((with_blot - guide)[inner].mean() / own))


def spheres(
    head: np.ndarray, diameter: float, rng: np.random.Generator, count: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Shares of balls in voxels, at random places well inside the head, and which voxels are more than half in one."""
    deep = ndimage.binary_erosion(head, iterations=10)
    places = np.argwhere(deep)[rng.permutation(int(deep.sum()))[:count]]
    share = np.zeros(head.shape, dtype=np.float32)
    index = np.indices(head.shape)
    for place in places:
        distance = np.sqrt(((index - place[:, None, None, None]) ** 2).sum(0))
        share = np.maximum(share, np.clip(diameter / 2 - distance + 0.5, 0, 1)).astype(np.float32)
    return share, share > 0.5


if __name__ == "__main__":
    main()
