"""Whether samples mean something: ``python scripts/benchmark_samples.py TRUTH [TRUTH ...] [options] [-- key=value]``.

Each thin-slice volume is degraded along its superior-inferior axis by Gaussian slices, and samples around the mean are
drawn, by default settings otherwise. Whole heads by default: of a narrow box one of the two planes is a strip, such as
networks were not trained on, and its samples have up to twice the power. Judged in the head, without any factor:

- spread_over_error: sqrt((M + 1) / M) times the root of the mean variance over the root mean square error of the
  samples' mean; 1 where samples are as far from each other as from the truth;
- held: share of voxels within the 90 % interval of Student's t of the samples' own deviation;
- outside: share of voxels whose truth lies below or above all samples, over the 2 / (M + 1) it should be;
- power along the slice axis over that of the truth, median of the frequencies above the slices' Nyquist frequency, of
  samples (mean of all) and of the mean (1 = as sharp as the truth);
- rank_correlation of the samples' deviation, and of the deviation that the prior tells, with the absolute error;
- gain_db over B-spline + replacement of the mean, of the samples' mean, and of one sample.

    python scripts/benchmark_samples.py uih2_T1w.nii.gz ms26_FLAIR.nii.gz --slices 4:4 6:6 --samples 16
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

from benchmark_quality import degraded_box, quiet_words
from focvs.acquisition.interpolation import interpolation_matrix
from focvs.commands.overrides import compose, split_overrides
from focvs.evaluation import uncertainty
from focvs.evaluation.metrics import peak_signal_to_noise, spectrum_ratio
from focvs.files import write_csv
from focvs.pipeline import super_resolve
from focvs.reconstruction.forward_model import model_acquisition
from focvs.run_config import RunConfig
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.nifti import axis_last, read_nifti
from focvs.scan.units import white_level

SHARE = 0.9


def main() -> None:
    arguments, overrides = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--slices", nargs="+", default=["4:4", "6:6"], help="thickness:spacing in mm")
    parser.add_argument("--noise", nargs="+", type=float, default=[0.0], help="fractions of the 99.5th percentile")
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--box", type=int, default=0, help="middle voxels of the first axis; 0 = all")
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args(arguments)
    rows = []
    for slices in options.slices:
        for noise in options.noise:
            for truth in options.truth:
                rows.append(judge(truth, slices, noise, options, overrides))
                shown = (f"{k} {v:.3g}" if isinstance(v, float) else str(v) for k, v in rows[-1].items())
                print("  ".join(shown), flush=True)
    if options.csv:
        rounded = [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
        write_csv(options.csv, rounded, list(rows[0]))


def judge(
    truth_path: Path, slices: str, noise: float, options: argparse.Namespace, overrides: list[str]
) -> dict[str, Any]:
    """A row."""
    count = options.samples
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan, truth, voxel = degraded_box(truth_path, slices, options.box, folder, noise)
        words = quiet_words(scan.path, name, voxel)
        words += [f"samples={count}", "save_samples=true", *overrides]
        config: RunConfig = OmegaConf.to_object(compose("config", words))
        paths = super_resolve(config)
        seconds = json.loads(paths["json"].read_text())["seconds"]["total"]
        mean, told, *samples = (
            axis_last(*read_nifti(paths[key])[:2], scan.file_axis)[0]
            for key in ("mean", "std", *(f"sample-{m:02d}" for m in range(1, count + 1)))
        )
    white = white_level(truth)
    mask = head_mask(truth, white) & (told > 0)
    operator = model_acquisition(scan, config).written
    start = (torch.from_numpy(scan.data) @ interpolation_matrix(operator).float().T).numpy()
    drawn = np.stack([sample[mask] for sample in samples])
    error, std = drawn.mean(0) - truth[mask], drawn.std(0, ddof=1)
    below = (drawn < truth[mask]).sum(0)
    before = peak_signal_to_noise(truth, start, mask, white)
    gains = [
        peak_signal_to_noise(truth, image, mask, white) - before for image in (mean, np.mean(samples, 0), samples[0])
    ]
    nyquist_mm = 1 / (2 * float(slices.split(":")[1]))
    powers = []
    for image in (*samples, mean):
        frequency, ratio = spectrum_ratio(truth, image, mask, voxel)
        powers.append(float(np.median(ratio[frequency > nyquist_mm])))
    every = max(1, len(error) // 200_000)
    mean_error = (mean - truth)[mask][::every]
    return {
        "truth": image_stem(truth_path),
        "slices": slices,
        "noise": noise,
        "samples": count,
        "spread_over_error": uncertainty.spread_skill(std, error, count),
        "held": uncertainty.coverage(error, uncertainty.student_half_width(std, count, SHARE)),
        "outside": float(np.isin(below, (0, count)).mean() * (count + 1) / 2),
        "power_sample": float(np.mean(powers[:-1])),
        "power_mean": powers[-1],
        "rank_correlation": uncertainty.rank_correlation(std[::every], mean_error),
        "rank_correlation_told": uncertainty.rank_correlation(told[mask][::every], mean_error),
        "gain_mean_db": float(gains[0]),
        "gain_of_samples_db": float(gains[1]),
        "gain_sample_db": float(gains[2]),
        "seconds": float(seconds),
    }


if __name__ == "__main__":
    main()
