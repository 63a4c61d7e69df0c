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
from benchmark_quality import middle_box

from focvs.acquisition.grid import make_grid
from focvs.config import EvaluateConfig, SimulateConfig
from focvs.errors import FocvsError
from focvs.evaluate import measure_estimates
from focvs.simulate import simulate_scan
from focvs.sweep import crop_for_grid
from focvs.volume import read_nifti, read_scan, write_nifti

COLUMNS = ("truth", "slices", "method", "psnr_db", "ssim", "seconds", "memory_mib", "residual", "header", "budget")
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
    environments = dict(word.split("=", 1) for word in options.environment)
    peers = yaml.safe_load(options.peers.read_text())
    rows = []
    for truth in options.truth:
        for slices in options.slices:
            for name in options.only or peers:
                with tempfile.TemporaryDirectory() as folder:
                    place = environments.get(name, "")
                    row = compare(truth, slices, name, peers[name], place, options, Path(folder))
                rows.append(row)
                print("  ".join(f"{row[key]:.4g}" if isinstance(row[key], float) else str(row[key]) for key in COLUMNS))
                sys.stdout.flush()
    if options.csv:
        with options.csv.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS)
            writer.writeheader()
            writer.writerows(rows)


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
    data, affine, header, _ = read_nifti(truth)
    axis = next(i for i, code in enumerate(nib.aff2axcodes(affine)) if code in "SI")
    volume, placed = crop_for_grid(data, affine, axis, spacing)
    if options.box:
        volume, placed = middle_box(volume, placed, options.box)
    write_nifti(folder / "truth.nii.gz", volume, placed, header)
    simulation = SimulateConfig(
        str(folder / "truth.nii.gz"), str(folder / "scan.nii.gz"), thickness=thickness, spacing=spacing
    )
    simulation.profile.kind = "gaussian"
    scan = read_scan(simulate_scan(simulation))
    out = folder / "out"
    out.mkdir()
    in_plane = float(np.mean(scan.in_plane_mm))
    command = peer["command"].format(
        scan=scan.path,
        folder=out,
        thickness_mm=thickness,
        spacing_mm=spacing,
        in_plane_mm=in_plane,
        thickness_px=thickness / in_plane,
        environment=environment,
    )
    row: dict[str, Any] = dict.fromkeys(COLUMNS, "-")
    row |= {"truth": truth.name.split(".")[0], "slices": slices, "method": name, "budget": peer["budget"]}
    try:
        row["seconds"], row["memory_mib"] = run(shlex.split(command), options.timeout)
        found = sorted(out.rglob(peer["output"]))
        if len(found) != 1:
            raise OSError(f"it left {len(found)} files like {peer['output']}, one was expected")
        (scored,), _ = measure_estimates(
            EvaluateConfig(
                str(folder / "truth.nii.gz"),
                [str(found[0])],
                scan=str(scan.path),
                thickness=thickness,
                profile=simulation.profile,
            )
        )
        row |= {key: scored[key] for key in ("psnr_db", "ssim")}
        row["residual"] = "-" if scored["residual"] is None else scored["residual"]
        row["header"] = "; ".join(header_errors(found[0], scan)) or "right"
    except (FocvsError, OSError, subprocess.SubprocessError) as error:
        row["header"] = f"failed: {error}"
    return row


def run(command: list[str], timeout: float) -> tuple[float, float]:
    """Seconds, and the largest resident memory in MiB of a process or of one it waited for."""
    began = time.monotonic()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, start_new_session=True)
        while not (done := os.wait4(process.pid, os.WNOHANG))[0]:
            if time.monotonic() - began > timeout:
                os.killpg(process.pid, signal.SIGKILL)
                os.wait4(process.pid, 0)
                raise subprocess.TimeoutExpired(command[0], timeout)
            time.sleep(0.05)
        process.returncode = os.waitstatus_to_exitcode(done[1])
        if process.returncode:
            said.seek(0)
            last = said.read().decode(errors="replace").strip().splitlines()[-1:] or ["nothing"]
            raise subprocess.SubprocessError(f"exit {process.returncode}, it said: {last[0]}")
    return time.monotonic() - began, done[2].ru_maxrss / 2**10


def header_errors(path: Path, scan: Any) -> list[str]:
    """What a reader of the file would be told wrongly about where the voxels are."""
    image = nib.load(path)
    affine, shape = image.affine, np.array(image.shape[:3])
    said = []
    sizes = np.array([*scan.data.shape[:2]])
    sizes = np.insert(sizes, scan.axis, scan.data.shape[2])
    centres = [a @ [*((n - 1) / 2), 1] for a, n in ((affine, shape), (scan.affine, sizes))]
    shift = np.linalg.norm((centres[0] - centres[1])[:3])
    if shift > SHIFT_MM:
        said.append(f"centre moved by {shift:.2f} mm")
    extents = [np.linalg.norm(a[:3, :3], axis=0) * n for a, n in ((affine, shape), (scan.affine, sizes))]
    grid = make_grid(int(sizes[scan.axis]), scan.spacing_mm, float(np.linalg.norm(affine[:3, scan.axis])), 0.0)
    allowed = np.full(3, SHIFT_MM)
    allowed[scan.axis] += grid.voxel_mm
    if (np.abs(extents[0] - extents[1]) > allowed).any():
        said.append(
            "extent "
            + " x ".join(f"{e:.1f}" for e in extents[0])
            + " mm for "
            + " x ".join(f"{e:.1f}" for e in extents[1])
        )
    header = image.header
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
