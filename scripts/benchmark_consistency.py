"""Residual of the written mean: ``python scripts/benchmark_consistency.py``.

A small generated head is scanned with every profile, several thicknesses and gaps and all three slice axes, and
restored in one step; printed is the relative residual of the re-read file, and the worst of all.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from omegaconf import OmegaConf

from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import make_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.commands.overrides import compose, quote
from focvs.pipeline import super_resolve
from focvs.scan.nifti import write_nifti


def main() -> None:
    volume = 1000 * head_phantom((64, 72, 64))[1]
    worst = 0.0
    print(f"{'profile':9s} {'thickness':>9s} {'spacing':>8s} {'axis':>4s} {'condition':>9s} {'residual':>9s}")
    for kind, (thickness, spacing), axis in itertools.product(
        ("gaussian", "rect", "slr"), ((3.0, 3.0), (4.0, 5.2), (6.0, 6.0), (5.0, 6.5)), (0, 1, 2)
    ):
        slices = simulate_slices(np.moveaxis(volume, axis, -1), 1.2, make_profile(kind, thickness), spacing)
        voxels = np.insert(np.array([1.2, 1.2]), axis, spacing)
        with tempfile.TemporaryDirectory() as name:
            scan = Path(name) / "scan.nii.gz"
            write_nifti(scan, np.moveaxis(slices, -1, axis), np.diag([*voxels, 1.0]), nib.Nifti1Header())
            words = [f"scan={quote(str(scan))}", f"profile={kind}", f"thickness={thickness}"]
            words += ["quality=samples", "samples=1", "steps=1", "figure=false", "report=false", "planes=alternate"]
            paths = super_resolve(OmegaConf.to_object(compose("config", words)))
            report = json.loads(paths["json"].read_text())
        residual = report["consistency"]["relative_residual"]
        condition = report["acquisition"]["condition_number"]
        worst = max(worst, residual)
        print(f"{kind:9s} {thickness:9.1f} {spacing:8.1f} {axis:4d} {condition:9.2f} {residual:9.1e}")
    print(f"worst relative residual {worst:.1e}")


if __name__ == "__main__":
    main()
