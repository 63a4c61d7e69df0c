"""Whether a mean knows how far it may be off: ``python scripts/benchmark_deviation.py TRUTH [TRUTH ...] [options]``.

Each thin-slice volume is degraded along its superior-inferior axis by Gaussian slices, restored by ``sampler=mean``
with the deviation that its prior tells, and compared in the head mask. A row says by how many dB the mean lies above
B-spline + replacement; the root mean square of the deviation over that of the error (1 where it is right, before any
factor); what an interval of 90 % of a normal distribution holds, and what that of the stored factors holds; the rank
correlation of deviation and absolute error, and the one that it would have with errors that are normal with just these
deviations: chance alone keeps it far below 1. Of a narrow box networks see strips; ``--box 0 --within 32`` restores the
whole head and looks at the middle of it. ``--measure FILE`` stores the factors of all heads together, beside the
weights as ``intervals.json``.

    python scripts/benchmark_deviation.py uih2_T1w.nii.gz ms26_FLAIR.nii.gz --slices 3:3 4:4 4:5.2 6:6 8:8 \\
        --measure checkpoints/mean2d/intervals.json
    python scripts/benchmark_deviation.py $EVAL/*.nii.gz --slices 3:3 4:4 4:5.2 6:6 8:8 --noise 0 0.01
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from scipy import stats

from benchmark_quality import degraded_box, quiet_words
from focvs.acquisition.interpolation import interpolation_matrix
from focvs.commands.overrides import compose, split_overrides
from focvs.evaluation.metrics import peak_signal_to_noise
from focvs.files import write_csv
from focvs.pipeline import super_resolve
from focvs.priors.intervals import LEVELS, IntervalRow, IntervalTable, ordered
from focvs.reconstruction.bounds import interval_settings
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.setup import open_prior
from focvs.run_config import RunConfig
from focvs.sampling.statistics import normal_quantile
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.nifti import axis_last, read_nifti
from focvs.scan.units import white_level

SHARE = 0.9


def main() -> None:
    arguments, overrides = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--slices", nargs="+", default=["4:4", "4:5.2", "6:6"], help="thickness:spacing in mm")
    parser.add_argument("--noise", nargs="+", type=float, default=[0.0], help="fractions of the 99.5th percentile")
    parser.add_argument("--box", type=int, default=48, help="middle voxels of the first axis; 0 = all")
    parser.add_argument("--within", type=int, default=0, help="middle voxels of the box that are looked at; 0 = all")
    parser.add_argument("--measure", type=Path, help="file of the factors")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args(arguments)
    rows, table, ratios = [], None, {}
    for slices in options.slices:
        for noise in options.noise:
            for truth in options.truth:
                row, ratio, config, report = judge(truth, slices, noise, options.box, options.within, overrides)
                rows.append(row)
                ratios.setdefault(slices, []).append(ratio)
                print("  ".join(f"{k} {v:.3g}" if isinstance(v, float) else str(v) for k, v in row.items()), flush=True)
    if options.measure:
        heads = tuple(image_stem(path) for path in options.truth)
        table = [
            IntervalRow(
                *map(float, slices.split(":")), tuple(map(float, np.quantile(np.concatenate(r), LEVELS))), heads
            )
            for slices, r in ratios.items()
        ]
        rule, exact = report["consistency"]["rule"], report["consistency"]["final_replacement"]
        weights = open_prior(config.prior, "cpu").sha256
        IntervalTable(weights, interval_settings(config, rule, exact), 0, ordered(table)).save(options.measure)
    if options.csv:
        rounded = [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
        write_csv(options.csv, rounded, list(rows[0]))


def judge(
    truth_path: Path, slices: str, noise: float, box: int, within: int, overrides: list[str]
) -> tuple[dict[str, Any], np.ndarray, RunConfig, dict[str, Any]]:
    """A row, absolute errors over deviations in the head, and the settings and JSON of the run."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan, truth, voxel = degraded_box(truth_path, slices, box, folder, noise)
        words = quiet_words(scan.path, name, voxel)
        config: RunConfig = OmegaConf.to_object(compose("config", [*words, *overrides]))
        paths = super_resolve(config)
        report = json.loads(paths["json"].read_text())
        mean, std, low, high = (
            axis_last(*read_nifti(paths[key])[:2], scan.file_axis)[0] for key in ("mean", "std", "q05", "q95")
        )
    white = white_level(truth)
    mask = head_mask(truth, white) & (std > 0)
    if within:
        outside = (len(mask) - within) // 2
        mask[:outside] = mask[outside + within :] = False
    operator = model_acquisition(scan, config).written
    start = (torch.from_numpy(scan.data) @ interpolation_matrix(operator).float().T).numpy()
    gain = peak_signal_to_noise(truth, mean, mask, white) - peak_signal_to_noise(truth, start, mask, white)
    error, deviation = np.abs(mean - truth)[mask], std[mask]
    ratio = error / deviation
    held = (low <= truth) & (truth <= high)
    every = max(1, len(error) // 200_000)
    if_right = deviation * np.abs(np.random.default_rng(0).standard_normal(len(deviation)))
    row = {
        "truth": image_stem(truth_path),
        "slices": slices,
        "noise": noise,
        "gain_db": float(gain),
        "spread_over_error": float(np.sqrt(np.mean(deviation**2) / np.mean(error**2))),
        "held_normal": float((ratio <= normal_quantile(SHARE)).mean()),
        "held_stored": float(held[mask].mean()),
        "rank_correlation": float(stats.spearmanr(deviation[::every], error[::every]).statistic),
        "rank_correlation_if_right": float(stats.spearmanr(deviation[::every], if_right[::every]).statistic),
        "seconds": float(report["seconds"]["total"]),
    }
    return row, ratio[::every], config, report


if __name__ == "__main__":
    main()
