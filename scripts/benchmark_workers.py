"""How much faster several processes are: ``python scripts/benchmark_workers.py [--csv FILE]``.

Two generated heads are restored by ``focvs FOLDER OUT``, in turns by one process that uses both cores, by one that uses
one core, and by two with a core each (``workers=2``); or, with ``--of samples``, two samples of one head are drawn
(``devices=2``). Seconds are those of the whole command. The volumes are compared to the bit.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import nibabel as nib
import numpy as np

from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.acquisition.tissue_head import tissue_head
from focvs.files import write_csv

VOXEL_MM, THICKNESS_MM, SPACING_MM = 1.2, 5.0, 6.0
RUNS = {"one process, two cores": (1, 2), "one process, one core": (1, 1), "two processes, a core each": (2, 2)}
COLUMNS = ("of", "run", "round", "seconds", "mib")
SHARED = {"scans": "workers={}", "samples": "devices={}"}  # what processes share, and the words that say so


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--of", choices=list(SHARED), default="scans", help="what processes share")
    parser.add_argument("--csv", type=Path)
    parser.add_argument("options", nargs="*", help="of focvs, such as quality=fast")
    options = parser.parse_args()
    rows, digests = [], set()
    with tempfile.TemporaryDirectory(prefix="focvs-workers-") as name:
        study = Path(name) / "study"
        study.mkdir()
        scans = 2 if options.of == "scans" else 1
        for seed in range(scans):
            slices = simulate_slices(
                1000 * tissue_head("T1w", seed)[1], VOXEL_MM, gaussian_profile(THICKNESS_MM), SPACING_MM
            )
            image = nib.Nifti1Image(slices.astype(np.float32), np.diag([VOXEL_MM, VOXEL_MM, SPACING_MM, 1.0]))
            nib.save(image, study / f"s{seed}.nii.gz")
        for number in range(options.rounds):
            for run, (processes, cores) in RUNS.items():
                out = Path(name) / f"{number}-{run}"
                command = [sys.executable, "-m", "focvs.cli", str(study), str(out), f"thickness={THICKNESS_MM:g}"]
                command += [SHARED[options.of].format(processes), "progress=false", *options.options]
                if options.of == "samples":
                    command.append("samples=2")
                began = time.monotonic()
                subprocess.run(
                    command, check=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": str(cores)}
                )
                seconds = time.monotonic() - began
                digests.add(
                    tuple(hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(out.glob("*_focvs*.nii.gz")))
                )
                size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) / scans / 2**20
                rows.append(
                    {"of": options.of, "run": run, "round": number, "seconds": f"{seconds:.1f}", "mib": f"{size:.1f}"}
                )
                print(f"{run:28s} round {number}  {seconds:6.1f} s  {size:5.1f} MiB a scan", flush=True)
    print("all volumes are the same to the bit" if len(digests) == 1 else f"{len(digests)} different sets of volumes")
    if options.csv:
        kept = []
        if options.csv.is_file():
            with options.csv.open(newline="", encoding="utf-8") as stream:
                kept = [row for row in csv.DictReader(stream) if row.get("of", "scans") != options.of]
        write_csv(options.csv, [*kept, *rows], COLUMNS)


if __name__ == "__main__":
    main()
