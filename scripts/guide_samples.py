"""Samples around a mean with a guide: do they spread as their error does?

Pairs are those of scripts/benchmark_guides.py, restored by the command with and without their guide. Spread over error
and what intervals of Student's t hold are those of scripts/benchmark_samples.py, without any factor; a factor of 1 and
90 % would be right.

    python scripts/guide_samples.py --tissue 0 --labels LABEL_MAPS --csv docs/results/guide_samples.csv
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmark_guides import Pair, label_pairs, tissue_pairs
from focvs.evaluation import uncertainty
from focvs.files import write_csv
from focvs.scan.nifti import read_nifti
from focvs.scan.units import white_level
from guide_intervals import GUIDES, VOXELS, restorations

SHARE = 0.9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tissue", nargs="*", type=int, default=[], help="seeds of heads of tissues")
    parser.add_argument("--labels", nargs="*", type=Path, default=[], help="label maps")
    parser.add_argument("--voxels", nargs="*", type=int, default=list(VOXELS), help="of a spacing")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for pair in [*tissue_pairs(options.tissue), *label_pairs(options.labels)]:
        for count in options.voxels:
            for row in judge(pair, count, options.samples):
                rows.append(row)
                print("  ".join(map(str, row.values())), flush=True)
                if options.csv:
                    write_csv(options.csv, rows, list(row))


def judge(pair: Pair, count: int, samples: int) -> list[dict[str, Any]]:
    """Rows without and with the guide."""
    rows = []
    spacing = f"{count * pair.voxel_mm:.3g}"
    words = [f"samples={samples}", "save_samples=true"]
    for name, truth, head, paths in restorations(pair, count, words, GUIDES[:2]):
        mean, told = (read_nifti(paths[key])[0] for key in ("mean", "std"))
        inside = head & (told > 0)
        drawn = np.stack([read_nifti(paths[f"sample-{m:02d}"])[0][inside] for m in range(1, samples + 1)])
        error, std = drawn.mean(0) - truth[inside], drawn.std(0, ddof=1)
        held = uncertainty.coverage(error, uncertainty.student_half_width(std, samples, SHARE))
        size = float(np.sqrt(np.mean((mean - truth)[inside] ** 2)) / white_level(truth))
        rows.append(
            {
                "pair": pair.name,
                "slices_mm": f"{spacing}:{spacing}",
                "guide": name,
                "samples": samples,
                "spread_over_error": f"{uncertainty.spread_skill(std, error, samples):.2f}",
                "held_percent": f"{100 * held:.1f}",
                "error_of_the_mean_percent": f"{100 * size:.2f}",
            }
        )
    return rows


if __name__ == "__main__":
    main()
