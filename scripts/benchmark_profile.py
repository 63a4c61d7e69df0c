"""How well the slice thickness is estimated: ``python scripts/benchmark_profile.py TRUTH [TRUTH ...]``.

Each thin-slice volume is degraded along one axis by known profiles, and the width of the profile is estimated: from
spectra knowing its shape, from spectra taking it for a Gaussian, and by the adversarial estimator knowing its shape (a
quarter of a minute each). The last lines give the median absolute error and how often the 95 %
interval holds the truth, where scans that do not tell count as not answered; and the log ratios of detail across slices
to that in-plane, at the true profile, mean and standard deviation over the volumes: what ANISOTROPY in
focvs/acquisition/estimation.py holds, of the volumes of train/.

    python scripts/benchmark_profile.py $FOCVS_DATA/eval/isotropic/*.nii.gz $FOCVS_DATA/train/isotropic*/*.nii.gz
    python scripts/benchmark_profile.py $FOCVS_DATA/train/isotropic*/*.nii.gz --across left-right
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from focvs.acquisition.adversarial import estimate_adversarially
from focvs.acquisition.estimation import ANISOTROPY, ProfileEstimate, detail_ratios, estimate_profile
from focvs.acquisition.profile import make_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.files import write_csv
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.nifti import axis_directions, read_nifti
from focvs.scan.units import white_level

WIDTHS = {  # FWHM and spacing in mm, by shape
    "gaussian": ((2, 2), (3, 3), (3, 4), (4, 4), (4, 5.2), (6, 6), (6, 7.8), (8, 8)),
    "rect": ((3, 3), (5, 5), (5, 6.5)),
    "slr": ((4, 4), (4, 5.2)),
}
ASSUMED = ("shape known", "taken for a Gaussian", "adversarial, shape known")
ANSWER = ("estimate_mm", "low_mm", "high_mm")
COLUMNS = ("truth", "across", "noise", "shape", "fwhm_mm", "spacing_mm", "assumed", *ANSWER)
CASES = [(shape, *width) for shape, widths in WIDTHS.items() for width in widths]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--noise", type=float, default=0.01, help="of the scan, fraction of the 99.5th percentile")
    parser.add_argument(
        "--across", default="inferior-superior", choices=sorted({across for across, _ in ANISOTROPY}), help="slice axis"
    )
    parser.add_argument("--assumed", nargs="+", default=list(ASSUMED), choices=ASSUMED, help="estimators to run")
    parser.add_argument("--csv", type=Path, help="file of a row for each volume, acquisition and assumption")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    ratios: dict[str, list[float]] = {}
    print(f"{'truth':16s} {'shape':9s} {'FWHM':>5s} {'every':>5s}  " + " ".join(f"{a:24s}" for a in options.assumed))
    for path in options.truth:
        data, affine, _, _ = read_nifti(path)
        directions = axis_directions(affine)
        axis = directions.index(options.across)
        in_plane = [along for along in directions if along != options.across]
        sizes = np.linalg.norm(affine[:3, :3], axis=0)
        voxels = [*np.delete(sizes, axis), sizes[axis]]
        data = np.moveaxis(data, axis, -1)
        scale = white_level(data)
        first, second = (ANISOTROPY[options.across, along] for along in in_plane)
        measured = []
        for shape, fwhm_mm, spacing_mm in CASES:
            slices = simulate_slices(data / scale, voxels[2], make_profile(shape, fwhm_mm), spacing_mm)
            noise = np.random.default_rng(0).normal(0, options.noise, slices.shape)
            y, mask = torch.from_numpy(slices + noise.astype(np.float32)), torch.from_numpy(head_mask(slices, 1.0))
            estimators: dict[str, Callable[..., ProfileEstimate]] = {
                "shape known": partial(estimate_profile, make=partial(make_profile, shape)),
                "taken for a Gaussian": estimate_profile,
                "adversarial, shape known": partial(estimate_adversarially, make=partial(make_profile, shape)),
            }
            cells = []
            for name in options.assumed:
                case = (image_stem(path), options.across, options.noise, shape, fwhm_mm, spacing_mm, name)
                rows.append(dict.fromkeys(COLUMNS, "") | dict(zip(COLUMNS, case, strict=False)))
                try:
                    found = estimators[name](y, mask, (voxels[0], voxels[1]), spacing_mm, anisotropy=(first, second))
                except ValueError as error:
                    cells.append(str(error)[:24])
                    continue
                answer = (found.profile.fwhm_mm, found.low_mm, found.high_mm)
                rows[-1] |= {key: round(mm, 3) for key, mm in zip(ANSWER, answer, strict=True)}
                inside = found.low_mm <= fwhm_mm <= found.high_mm
                cells.append("{:5.2f} [{:5.2f}, {:5.2f}]".format(*answer) + (" " if inside else "!"))
            told = " ".join(f"{cell:24s}" for cell in cells)
            print(f"{image_stem(path):16s} {shape:9s} {fwhm_mm:5g} {spacing_mm:5g}  {told}", flush=True)
            with suppress(ValueError):
                true = make_profile(shape, fwhm_mm)
                measured.append(detail_ratios(y, mask, (voxels[0], voxels[1]), spacing_mm, true))
        for along, some in zip(in_plane, np.array(measured).T, strict=bool(measured)):
            ratios.setdefault(along, []).append(float(np.nanmean(some)))
    for name in options.assumed:
        some = [row for row in rows if row["assumed"] == name]
        error, held, answered = summarise(some)
        print(
            f"{name}: median error {100 * error:.1f} %, interval holds {100 * held:.0f} % of {answered}, "
            f"{len(some) - answered} not answered"
        )
    for along, some in ratios.items():
        deviation = np.std(some, ddof=1) if len(some) > 1 else np.nan
        print(f"log ratio of detail {options.across} to {along}: {np.mean(some):.2f} +- {deviation:.2f} of {len(some)}")
    if options.csv:
        write_csv(options.csv, rows, list(COLUMNS))


def summarise(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float, int]:
    """Median absolute error, how often the interval holds the truth, and how many of the rows have an answer."""
    found = [(float(row["fwhm_mm"]), *(float(row[key]) for key in ANSWER)) for row in rows if row[ANSWER[0]] != ""]
    if not found:
        return math.nan, math.nan, 0
    true, estimate, low, high = np.array(found).T
    return float(np.median(np.abs(estimate / true - 1))), float(np.mean((low <= true) & (true <= high))), len(found)


if __name__ == "__main__":
    main()
