"""Restore a folder of clinical scans: ``python scripts/benchmark_scans.py FOLDER OUT [key=value ...]``.

Prints, per scan, its slices, minutes, the relative residual of the re-read file, chi2 before the last replacement
and warnings; the pictures are in OUT.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from focvs.commands.overrides import compose, quote
from focvs.errors import FocvsError
from focvs.pipeline import super_resolve
from focvs.scan.formats import image_stem


def main() -> None:
    folder, out, *overrides = sys.argv[1:]
    print(
        f"{'scan':24s} {'slices':>6s} {'every mm':>8s} {'voxel mm':>8s} {'minutes':>7s} {'residual':>8s} {'chi2':>6s}"
    )
    for path in sorted(Path(folder).glob("*.nii*")):
        words = [f"scan={quote(str(path))}", f"output_dir={quote(out)}", *overrides]
        try:
            report = json.loads(super_resolve(OmegaConf.to_object(compose("config", words)))["json"].read_text())
        except FocvsError as error:
            print(f"{path.name:24s} {error}", flush=True)
            continue
        print(line(path, report), flush=True)


def line(path: Path, report: dict[str, Any]) -> str:
    acquisition, consistency = report["acquisition"], report["consistency"]
    misfit = consistency["chi2_before_last_replacement"]  # None where pixels were averaged for the network
    return (
        f"{image_stem(path):24s} {acquisition['slices']:6d} {acquisition['spacing_mm']:8.2f} "
        f"{acquisition['voxel_mm']:8.3f} {report['seconds']['total'] / 60:7.2f} "
        f"{consistency['relative_residual']:8.1e} {'-' if misfit is None else format(misfit, '.2f'):>6s} "
        f"{'; '.join(report['warnings'])}"
    )


if __name__ == "__main__":
    main()
