"""Quality against the number of evaluations: ``python scripts/benchmark_curve.py TRUTH [TRUTH ...] [options]``.

Each thin-slice volume is degraded along its superior-inferior axis, restored by the mean and by samples of fewer and
more steps, and scored in the head mask: dB above B-spline + one exact replacement, SSIM, and the sharpness of edges
across slices over that of the truth. Choices of ``quality`` are made by it, on heads kept out of training.

    python scripts/benchmark_curve.py uih2_T1w.nii.gz ms26_FLAIR.nii.gz --csv docs/results/curve.csv
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf

from benchmark_quality import degraded_box, quiet_words
from focvs.acquisition.interpolation import interpolation_matrix
from focvs.commands.overrides import compose
from focvs.evaluation.metrics import edge_sharpness, peak_signal_to_noise, structural_similarity
from focvs.files import write_csv
from focvs.pipeline import super_resolve
from focvs.reconstruction.forward_model import model_acquisition
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.nifti import axis_last, read_nifti
from focvs.scan.units import white_level

RUNS = {
    "mean2d, first stage": "quality=fast",
    "mean2d, all stages": "quality=default",
    "mean2d, four mirrors": "quality=best",
    "head2d, its mean": "sampler=mean prior=head2d",
    "head2d, 1 sample of 3": "quality=samples samples=1 steps=3",
    "head2d, 1 sample of 5": "quality=samples samples=1 steps=5",
    "head2d, 1 sample of 8": "quality=samples samples=1 steps=8",
    "head2d, 1 sample of 12": "quality=samples samples=1",
    "head2d, 2 samples of 12": "quality=samples samples=2",
    "head2d, 4 samples of 12": "quality=samples samples=4",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--slices", default="4:4", help="thickness:spacing in mm")
    parser.add_argument("--noise", type=float, default=0.01, help="fraction of the 99.5th percentile")
    parser.add_argument("--box", type=int, default=32, help="middle voxels of the first axis; 0 = all")
    parser.add_argument("--runs", nargs="+", choices=RUNS, default=list(RUNS))
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    rows = []
    for truth_path in options.truth:
        with tempfile.TemporaryDirectory() as name:
            scan, truth, voxel = degraded_box(truth_path, options.slices, options.box, Path(name), options.noise)
            white = white_level(truth)
            mask = head_mask(truth, white)
            words = quiet_words(scan.path, name, voxel)
            operator = model_acquisition(scan, OmegaConf.to_object(compose("config", words))).written
            start = (torch.from_numpy(scan.data) @ interpolation_matrix(operator).float().T).numpy()
            before = peak_signal_to_noise(truth, start, mask, white)
            for run in options.runs:
                paths = super_resolve(OmegaConf.to_object(compose("config", [*words, *RUNS[run].split()])))
                report = json.loads(paths["json"].read_text())
                found: np.ndarray = axis_last(*read_nifti(paths["mean"])[:2], scan.file_axis)[0]
                row = {
                    "truth": image_stem(truth_path),
                    "run": run,
                    "evaluations": report["evaluations"],
                    "gain_db": round(peak_signal_to_noise(truth, found, mask, white) - before, 3),
                    "ssim": round(structural_similarity(truth, found, mask, white), 4),
                    "sharpness": round(edge_sharpness(truth, found, mask), 3),
                    "seconds": round(report["seconds"]["sampling"], 1),
                }
                rows.append(row)
                print("  ".join(str(value) for value in row.values()), flush=True)
    if options.csv:
        write_csv(options.csv, rows, list(rows[0]))


if __name__ == "__main__":
    main()
