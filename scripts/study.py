"""Studies of the prior at equal training time: ``python scripts/study.py STUDY TRUTH [TRUTH ...] OUT [-- overrides]``.

Each row trains a prior from random weights for the same number of minutes on this machine: before the first training
every row takes a few probing steps, which tell how many steps that makes; ``--jobs 2`` trains two at a time, a core
each, which here is faster than one after the other. Then each prior denoises heads kept
out of training: dB below the error of the interpolated scan, in the mean over noise levels, slices and acquisitions,
and what a row differs by from the first one, with the standard error over slices; the row of another seed tells what
chance does to a training. Trainings that are in OUT already
are resumed or reused. Overrides after ``--`` hold for every training but where a row says otherwise. The studies:

    architecture  width, depth, attention, Haar transforms, parameterisation, scan, 2D, slabs, 3D (conf/network)
    mixture       one ingredient of the training set left out at a time (conf/train.yaml)

    python scripts/study.py mixture $FOCVS_DATA/train/isotropic/uih2_T1w.nii.gz runs/mixture --minutes 10
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from focvs.commands.overrides import split_overrides
from focvs.evaluation.denoising import (
    PATCH,
    HeldOut,
    denoising_errors,
    gain_db,
    held_out,
    interpolation_error,
)
from focvs.priors.pretrained import load_prior

SCRIPTS = Path(__file__).parent
STUDIES = {
    "architecture": {
        "base": "",
        "narrow, deep": "network.block_out_channels=[24,48,96,96] network.layers_per_block=2",
        "wide, shallow": "network.block_out_channels=[48,96,192]",
        "attention": "network.mid_attention=true",
        "no Haar transform": "network.stem_levels=0 network.block_out_channels=[16,32,64,128,128]",
        "two Haar transforms": "network.stem_levels=2 network.block_out_channels=[64,128,128]",
        "v-prediction": "network.sigma_data=1 network.sigma_residual=1",
        "noise prediction": "network.prediction=epsilon",
        "not told of the scan": "network.conditioned=false",
        "told of the scan without its numbers": "network.told_numbers=false",
        # the most that being told of the plane could bring to sagittal slices, those of the kept-out volumes
        "volumes in sagittal slices only": "planes=[sagittal]",
        "slices alone": "network.slab=1",
        "slabs of 3": "network.slab=3",
        "blocks of volumes": "experiment=head3d",
    },
    "mixture": {
        "all": "",
        "all, another seed": "plan.seed=1",
        "no label maps": "group_weights.labels=0",
        "no thick scans": "group_weights.thick=0",
        "no stripped heads": "group_weights.isotropic_stripped=0",
        "no contrast curves": "augmentation.curve=0",
        "no bias field": "augmentation.bias=0",
        "no lesions, no vessels": "augmentation.lesions=0 augmentation.vessels=0 augmentation.label_lesions=0 "
        "augmentation.label_vessels=0",
        "no deformation": "augmentation.deformation=0",
        "more in-plane slices and label maps": "group_weights.isotropic=0.50 group_weights.isotropic_stripped=0.08 "
        "group_weights.thick=0.27 group_weights.labels=0.15",
        "always resampled": "augmentation.untouched=0",
    },
}
Row = tuple[Path, list[str]]  # folder and settings
PROBE_STEPS, PROBES = 5, 4  # probing steps between records, and records; the first one is warm-up
SHORTEST_SPAN = 1.0  # seconds; the log has them to a tenth
SIGMAS = (0.1, 0.2, 0.4, 0.8)


def main() -> None:
    arguments, overrides = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=10, help="of each training")
    parser.add_argument("--steps", type=int, help="of each training, whatever time they take, instead of the same time")
    parser.add_argument("--inverted", nargs="*", default=[], help="stems of truths that are denoised inverted as well")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, which share the cores")
    parser.add_argument("--only", nargs="+", help="names of rows")
    parser.add_argument("--slices", nargs="+", default=["4:4", "6:6"], help="thickness:spacing in mm")
    options = parser.parse_args(arguments)
    rows = {
        name: (options.out / name.replace(",", "").replace(" ", "_"), [*overrides, *words.split()])
        for name, words in STUDIES[options.study].items()
        if name in (options.only or [name])
    }
    threads = max(1, (os.cpu_count() or 1) // options.jobs)

    def length(row: Row) -> int:
        return options.steps or max(1, round(60 * options.minutes / probe(*row, threads)))

    def finish(row: Row) -> int:
        """Steps the row was trained for."""
        steps, log = length(row), row[0] / "run" / "log.jsonl"
        done = json.loads(log.read_text().splitlines()[-1])["step"] if log.is_file() else 0
        if done >= steps:
            return done
        plan = [f"plan.steps={steps}", f"plan.decay_steps={steps // 2}", f"plan.warmup_steps={min(100, steps // 10)}"]
        train(row[0] / "run", threads, *row[1], *plan)
        return steps

    heads = {path.name.split(".")[0]: held_out(path) for path in options.truth}
    if unknown := set(options.inverted) - set(heads):
        parser.error(f"--inverted {' '.join(unknown)} is none of the truths {' '.join(heads)}")
    heads |= {f"{stem} inverted": head.inverted() for stem, head in heads.items() if stem in options.inverted}
    if any("experiment=head3d" in settings for _, settings in rows.values()):
        heads = {stem: head.middle(PATCH) if head.isotropic else head for stem, head in heads.items()}
    pool = ThreadPoolExecutor(options.jobs)
    list(pool.map(length, rows.values()))
    trained = pool.map(finish, rows.values())
    print(f"{'prior':24s} {'steps':>6s} " + " ".join(f"{stem:>24s}" for stem in heads), flush=True)
    first: dict[str, torch.Tensor] = {}
    for (name, (folder, _)), steps in zip(rows.items(), trained, strict=True):
        cells = []
        for stem, head in heads.items():
            gains = score(folder / "run" / "ema", head, options.slices)
            if gains is None:
                cells.append("-")
                continue
            difference = gains - first.setdefault(stem, gains)
            error = difference.std() / len(difference) ** 0.5
            cells.append(f"{gains.mean():.2f} ({difference.mean():+.2f} +- {error:.2f})")
        print(f"{name:24s} {steps:6d} " + " ".join(f"{c:>24s}" for c in cells), flush=True)


def probe(folder: Path, settings: list[str], threads: int) -> float:
    """Seconds of a training step of this row, the least of a few: other work on the machine only adds; kept."""
    kept = folder / "seconds.json"
    if not kept.is_file():
        shutil.rmtree(folder / "probe", ignore_errors=True)  # the seconds of a resumed log start again
        plan = [f"plan.steps={PROBES * PROBE_STEPS}", f"plan.checkpoint_every={PROBE_STEPS}"]
        train(folder / "probe", threads, *settings, *plan)
        seconds = [json.loads(line)["seconds"] for line in (folder / "probe" / "log.jsonl").read_text().splitlines()]
        spans = [later - earlier for earlier, later in itertools.pairwise(seconds)]
        if min(spans) < SHORTEST_SPAN:
            raise SystemExit(f"{PROBE_STEPS} steps take {min(spans)} s, too little to time them; give --steps.")
        kept.write_text(json.dumps(min(spans) / PROBE_STEPS))
    return float(json.loads(kept.read_text()))


def train(output: Path, threads: int, *words: str) -> None:
    output.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(SCRIPTS / "train.py"), f"output={output}", *words]
    with (output / "train.log").open("a") as log:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        subprocess.run(command, check=True, env=environment, stdout=log, stderr=subprocess.STDOUT)


def score(path: Path, head: HeldOut, slices: list[str]) -> torch.Tensor | None:
    """dB below the error of the interpolated scan of every scored slice, mean over levels and acquisitions.

    None for a 3D prior and slices that stand alone.
    """
    prior = load_prior(path)
    if prior.dimensions == 3 and not head.isotropic:
        return None
    gains = []
    for words in slices:
        thickness, spacing = map(float, words.split(":"))
        degradation = head.acquisition(thickness, spacing)
        slab = prior.slab if head.isotropic else 1
        errors = denoising_errors(prior, head, degradation if prior.conditioned else None, slab, SIGMAS)
        gains.append(gain_db(interpolation_error(head, degradation), errors).mean(0))
    return torch.stack(gains).mean(0)


if __name__ == "__main__":
    main()
