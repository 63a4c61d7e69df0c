"""Studies of the prior at equal training time: ``python scripts/study.py STUDY TRUTH [TRUTH ...] OUT [-- overrides]``.

Each row trains a prior from random weights for the same number of minutes on this machine (a few probing steps tell how
many steps that makes) and restores heads kept out of training with it. Trainings that are in OUT already are resumed or
reused. Overrides after ``--`` hold for every training. The studies:

    architecture  width, depth, attention, Haar transforms, scan, neighbours (conf/network/haar2d.yaml)
    mixture       one ingredient of the training set left out at a time (conf/train.yaml)
    dimensions    slices alone, slabs of slices, blocks of volumes

    python scripts/study.py mixture $FOCVS_DATA/train/isotropic/uih2_T1w.nii.gz runs/mixture --minutes 10 --box 32
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

from focvs.cli import split_overrides

SCRIPTS = Path(__file__).parent
STUDIES = {
    "architecture": {
        "base": "",
        "narrow, deep": "network.block_out_channels=[24,48,96,96] network.layers_per_block=2",
        "wide, shallow": "network.block_out_channels=[48,96,192]",
        "attention": "network.mid_attention=true",
        "no Haar transform": "network.stem_levels=0 network.block_out_channels=[16,32,64,128,128]",
        "two Haar transforms": "network.stem_levels=2 network.block_out_channels=[64,128,128]",
        "not told of the scan": "network.conditioned=false",
        "no neighbours": "network.slab=1",
    },
    "mixture": {
        "all": "",
        "no label maps": "group_weights.labels=0",
        "no thick scans": "group_weights.thick=0",
        "no stripped heads": "group_weights.isotropic_stripped=0",
        "no contrast curves": "augmentation.curve=0",
        "no bias field": "augmentation.bias=0",
        "no lesions, no vessels": "augmentation.lesions=0 augmentation.vessels=0 augmentation.label_lesions=0 "
        "augmentation.label_vessels=0",
        "no deformation": "augmentation.deformation=0",
        "always resampled": "augmentation.untouched=0",
    },
    "dimensions": {
        "slices": "network.slab=1",
        "slabs of 3": "network.slab=3",
        "slabs of 5": "network.slab=5",
        "blocks": "experiment=head3d",
    },
}
PROBE_STEPS, PROBES = 10, 3  # probing steps between records, and records; the first one is warm-up


def main() -> None:
    arguments, overrides = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--minutes", type=float, default=10, help="of each training")
    parser.add_argument("--only", nargs="+", help="names of rows")
    parser.add_argument("--slices", nargs="+", default=["4:4"], help="thickness:spacing in mm")
    parser.add_argument("--restore", default="samples=2", help="overrides of the restorations")
    parser.add_argument("--box", type=int, default=32, help="restore only this many middle voxels of the first axis")
    options = parser.parse_args(arguments)
    rows = {name: words for name, words in STUDIES[options.study].items() if name in (options.only or [name])}
    command = [sys.executable, str(SCRIPTS / "benchmark_quality.py"), *map(str, options.truth)]
    command += ["--box", str(options.box), "--slices", *options.slices]
    for name, words in rows.items():
        folder = options.out / name.replace(",", "").replace(" ", "_")
        settings = [*words.split(), *overrides]
        steps, seconds = length(folder, settings, options.minutes)
        print(f"{name}: {steps} steps of {seconds:.2f} s", flush=True)
        plan = [f"plan.steps={steps}", f"plan.decay_steps={steps // 2}", f"plan.warmup_steps={min(100, steps // 10)}"]
        train(folder / "run", *settings, *plan)
        prior = "head3d" if "experiment=head3d" in settings else "head2d"
        command += ["--run", f"{name}: prior={prior} prior.path={folder / 'run' / 'ema'}"]
    subprocess.run([*command, "--", "progress=false", *options.restore.split()], check=True)


def length(folder: Path, settings: list[str], minutes: float) -> tuple[int, float]:
    """Steps that take ``minutes`` here, and the seconds of one; measured once and kept."""
    kept = folder / "length.json"
    if not kept.is_file():
        plan = [f"plan.steps={PROBES * PROBE_STEPS}", f"plan.checkpoint_every={PROBE_STEPS}"]
        train(folder / "probe", *settings, *plan)
        seconds = [json.loads(line)["seconds"] for line in (folder / "probe" / "log.jsonl").read_text().splitlines()]
        step = (seconds[-1] - seconds[0]) / (PROBE_STEPS * (PROBES - 1))
        kept.write_text(json.dumps([max(1, round(60 * minutes / step)), step]))
    steps, step = json.loads(kept.read_text())
    return int(steps), float(step)


def train(output: Path, *words: str) -> None:
    subprocess.run([sys.executable, str(SCRIPTS / "train.py"), f"output={output}", *words], check=True)


if __name__ == "__main__":
    main()
