r"""FOCVS beside other methods as they ship: ``python scripts/compare_peers.py TRUTH [TRUTH ...] [options]``.

Each thin-slice volume is degraded as in benchmark_quality.py; every method of scripts/peers.yaml (or ``--peers``) gets
the file, in a process of its own. Printed are PSNR and SSIM in the head on the truth's voxels (estimates on others are
resampled by cubic splines), seconds, peak memory, the largest deviation of the estimate's own slices from the scan over
its range (- where its voxels do not fit the scan's field of view), and what is wrong with its header.

    python -m venv env && env/bin/pip install eclare
    python scripts/compare_peers.py ms07_FLAIR.nii.gz --slices 4:4 --box 32 --environment eclare=env
"""

from __future__ import annotations

import argparse
import csv
import logging
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml

from benchmark_quality import degraded_box
from focvs.commands.scores import measure_estimates
from focvs.config import EvaluateConfig
from focvs.errors import FocvsError
from focvs.run_config import ProfileConfig
from focvs.scan.formats import image_stem

COLUMNS = ("truth", "slices", "method", "psnr_db", "ssim", "seconds", "memory_mib", "residual", "header", "budget")
WATCH = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""
SHIFT_MM = 0.05  # shifts and changes of the extent below this are rounding


def main() -> None:
    logging.basicConfig(level=logging.WARNING)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--slices", nargs="+", default=["4:4"], help="thickness:spacing in mm")
    parser.add_argument("--box", type=int, default=0, help="only this many middle voxels of the first axis")
    parser.add_argument("--peers", type=Path, default=Path(__file__).with_name("peers.yaml"))
    parser.add_argument("--only", nargs="+", help="names of methods")
    parser.add_argument("--environment", action="append", default=[], metavar="NAME=FOLDER", help="of a method")
    parser.add_argument("--timeout", type=float, default=3600, help="seconds for one run")
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    if not all("=" in word for word in options.environment):
        parser.error("--environment takes NAME=FOLDER")
    environments = dict(word.split("=", 1) for word in options.environment)
    peers = yaml.safe_load(options.peers.read_text())
    if unknown := set(options.only or ()) - set(peers):
        parser.error(f"{', '.join(sorted(unknown))}: not in {options.peers}, which has {', '.join(peers)}")
    rows: list[dict[str, Any]] = []
    for truth in options.truth:
        for slices in options.slices:
            for name in options.only or peers:
                with tempfile.TemporaryDirectory() as folder:
                    place = environments.get(name, "")
                    row = compare(truth, slices, name, peers[name], place, options, Path(folder))
                rows.append(row)
                if options.csv:
                    write_rows(options.csv, rows)
                print("  ".join(f"{row[key]:.4g}" if isinstance(row[key], float) else str(row[key]) for key in COLUMNS))
                sys.stdout.flush()


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {k: round(v, 4) if isinstance(v, float) and k != "residual" else v for k, v in row.items()} for row in rows
        )


def compare(
    truth: Path,
    slices: str,
    name: str,
    peer: dict[str, str],
    environment: str,
    options: argparse.Namespace,
    folder: Path,
) -> dict[str, Any]:
    thickness, spacing = map(float, slices.split(":"))
    scan, _, _ = degraded_box(truth, slices, options.box, folder)
    out = folder / "out"
    out.mkdir()
    in_plane = float(np.mean(scan.in_plane_mm))
    places = {
        "scan": scan.path,
        "folder": out,
        "thickness_mm": thickness,
        "spacing_mm": spacing,
        "in_plane_mm": in_plane,
        "thickness_px": thickness / in_plane,
        "environment": environment,
    }
    command = [word.format(**places) for word in shlex.split(peer["command"])]
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "-")
    row |= {"truth": image_stem(truth), "slices": slices, "method": name, "budget": peer["budget"]}
    try:
        row["seconds"], row["memory_mib"] = run(command, options.timeout)
        found = sorted(out.rglob(peer["output"]))
        if len(found) != 1:
            raise OSError(f"it left {len(found)} files like {peer['output']}, one was expected")
        (scored,), _ = measure_estimates(
            EvaluateConfig(
                str(folder / "truth.nii.gz"),
                [str(found[0])],
                scan=str(scan.path),
                thickness=thickness,
                profile=ProfileConfig("gaussian"),
            )
        )
        row |= {key: scored[key] for key in ("psnr_db", "ssim")}
        row["residual"] = "-" if scored["residual"] is None else scored["residual"]
        row["header"] = "; ".join(header_errors(found[0], scan.path)) or "right"
    except (FocvsError, OSError, subprocess.SubprocessError) as error:
        row["header"] = f"failed: {error}"
    return row


def run(command: list[str], timeout: float) -> tuple[float, float]:
    """Seconds, and the largest resident memory in MiB of a process or of one it waited for.

    Raises:
        SubprocessError: if it fails or takes longer than ``timeout`` seconds.
    """
    began = time.monotonic()
    # started by a small process, as a fork's memory counts from that of its parent
    command = [sys.executable, "-S", "-c", WATCH, *command]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            counted, said = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        last = said.decode(errors="replace").strip().splitlines()[-1:] or ["nothing"]
        raise subprocess.SubprocessError(f"exit {process.returncode}, it said: {last[0]}")
    return time.monotonic() - began, int(counted) / 2**10


def header_errors(path: Path, scan: Path) -> list[str]:
    """What a reader of the file would be told wrongly about where the voxels are; any order of axes is right."""
    given, image = (nib.as_closest_canonical(nib.load(name)) for name in (scan, path))
    said = []
    extents, centres = [], []
    for volume in (image, given):
        shape = np.array(volume.shape[:3])
        extents.append(nib.affines.voxel_sizes(volume.affine) * shape)
        centres.append(nib.affines.apply_affine(volume.affine, (shape - 1) / 2))
    if (shift := np.linalg.norm(centres[0] - centres[1])) > SHIFT_MM:
        said.append(f"centre moved by {shift:.2f} mm")
    # a whole number of voxels fills the field of view to within half of one
    allowed = SHIFT_MM + nib.affines.voxel_sizes(image.affine) / 2
    if (np.abs(extents[0] - extents[1]) > allowed).any():
        said.append("extent " + " for ".join(" x ".join(f"{e:.1f}" for e in extent) + " mm" for extent in extents))
    header = nib.load(path).header
    if header["sform_code"] > 0 and header["qform_code"] > 0:
        apart = np.abs(header.get_sform() - header.get_qform()).max()
        if apart > SHIFT_MM:
            said.append(f"sform and qform differ by {apart:.2f}")
    elif not header["sform_code"] and not header["qform_code"]:
        said.append("no form code")
    if header.get_xyzt_units()[0] != "mm":
        said.append(f"units {header.get_xyzt_units()[0]}")
    return said


if __name__ == "__main__":
    main()
