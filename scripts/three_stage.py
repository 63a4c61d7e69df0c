"""The three-stage recipe and its ablation: ``python scripts/three_stage.py TRUTH OUT [options] [-- overrides]``.

Generic pre-training on synthetic images (experiment=synthetic), fine-tuning on MRI (experiment=mr), self-supervision
on the scan itself (adapt=true). Prints PSNR and SSIM of a head kept out of training after none of them (cubic B-spline
and one exact replacement), each alone, and all, with the same steps for a stage wherever it occurs. Trainings that are
in OUT already are resumed or reused. Overrides after ``--`` hold for the restorations.

    python scripts/three_stage.py $FOCVS_DATA/train/isotropic/uih2_T1w.nii.gz runs/three --steps 2000 --box 64
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from hydra.utils import instantiate

from focvs.commands.overrides import compose, split_overrides
from focvs.priors.own import save_prior

SCRIPTS = Path(__file__).parent


def main() -> None:
    arguments, overrides = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=2000, help="of each training")
    parser.add_argument("--decay", type=int, default=500, help="last steps, in which the learning rate falls")
    parser.add_argument("--adapt-steps", type=int, default=300)
    parser.add_argument("--slices", default="4:4", help="thickness:spacing in mm")
    parser.add_argument("--box", type=int, default=64, help="restore only this many middle voxels of the first axis")
    parser.add_argument("--csv", type=Path, help="file of a row for each restoration; those it has are not made again")
    options = parser.parse_args(arguments)

    untrained = options.out / "untrained"
    if not untrained.is_dir():
        torch.manual_seed(0)
        config = compose("train", [])
        trained = {"voxel_range_mm": list(config.voxel_range_mm), "mirrored": True}  # as the trainings have it
        save_prior(instantiate(config.network, trained=trained, _convert_="all"), untrained)
    plan = [f"plan.steps={options.steps}", f"plan.decay_steps={options.decay}"]
    synthetic, mr, both = (options.out / name for name in ("synthetic", "mr", "synthetic_mr"))
    train("synthetic", synthetic, *plan)
    train("mr", mr, *plan)
    train("mr", both, f"start={synthetic / 'ema'}", *plan)

    adapt = f"adapt=true adaptation.steps={options.adapt_steps} adaptation.cache={options.out / 'adapted'}"
    runs = {
        "synthetic": f"prior.path={synthetic / 'ema'}",
        "MRI": f"prior.path={mr / 'ema'}",
        "scan": f"prior.path={untrained} {adapt} adaptation.learning_rate=1e-3",
        "synthetic, MRI": f"prior.path={both / 'ema'}",
        "synthetic, MRI, scan": f"prior.path={both / 'ema'} {adapt}",
    }
    command = [sys.executable, str(SCRIPTS / "benchmark_quality.py"), str(options.truth), "--slices", options.slices]
    command += ["--box", str(options.box), *(["--csv", str(options.csv)] if options.csv else [])]
    for name, words in runs.items():
        command += ["--run", f"{name}: {words}"]
    subprocess.run([*command, "--", "quality=samples", *overrides], check=True)


def train(experiment: str, output: Path, *words: str) -> None:
    command = [sys.executable, str(SCRIPTS / "train.py"), f"experiment={experiment}", f"output={output}", *words]
    subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
