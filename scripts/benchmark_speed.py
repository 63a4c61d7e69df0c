"""Minutes and memory of a whole head at every choice of quality, and where the time goes.

``python scripts/benchmark_speed.py [--runs fast default] [--size 192 224 192] [--csv FILE] [-- key=value ...]``. A
generated head of 1 mm with 4 mm slices is restored by the command line, each run in a process of its own; printed are
the seconds of the whole process, those inside of it by name, and the peak of its memory. ``--scan`` takes a scan of
yours instead. What comes after ``--`` holds for every run.
"""

from __future__ import annotations

import argparse
import csv
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.commands.overrides import split_overrides
from focvs.scan.nifti import write_nifti

COLUMNS = (
    "quality",
    "evaluations",
    "precision",
    "total_s",
    "network_s",
    "replacement_s",
    "probe_and_weights_s",
    "calibration_s",
    "start_s",
    "rest_s",
    "memory_mib",
)


def main() -> None:
    arguments, overrides = split_overrides(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", default=["fast", "default"], help="names of conf/quality")
    parser.add_argument("--size", type=int, nargs=3, default=(192, 224, 192), help="voxels of 1 mm")
    parser.add_argument("--scan", type=Path)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args(arguments)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = options.scan or generate(folder / "scan.nii.gz", tuple(options.size))
        for quality in options.runs:
            rows.append(run(scan, folder / quality, quality, overrides))
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
    if options.csv:
        with options.csv.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def generate(path: Path, size: tuple[int, ...]) -> Path:
    slices = simulate_slices(1000 * head_phantom(size)[1], 1.0, gaussian_profile(4.0), 4.0)
    write_nifti(path, slices, np.diag([1.0, 1.0, 4.0, 1.0]), nib.Nifti1Header())
    return path


def run(scan: Path, folder: Path, quality: str, overrides: list[str]) -> dict[str, Any]:
    """One row, from the JSON that the command leaves."""
    words = [str(scan), str(folder), f"quality={quality}", *overrides]
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "focvs.cli", *words], check=True, capture_output=True)
    total = time.perf_counter() - began
    report = json.loads(next(folder.glob("*_focvs.json")).read_text())
    seconds = report["seconds"]
    known = seconds["sampling"] + seconds["prior"] + seconds["calibration"] + seconds["adaptation"]
    numbers = {
        "total_s": total,
        "network_s": seconds["network"],
        "replacement_s": seconds["replacement"],
        "probe_and_weights_s": seconds["prior"],
        "calibration_s": seconds["calibration"],
        "start_s": total - seconds["total"],
        "rest_s": seconds["total"] - known,
    }
    told = {"quality": quality, "evaluations": report["evaluations"], "precision": report["precision"]["name"]}
    rounded = {key: round(value, 1) for key, value in numbers.items()}
    return {**told, **rounded, "memory_mib": round(report["peak_memory_mib"])}


if __name__ == "__main__":
    main()
