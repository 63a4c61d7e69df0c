"""Time and memory of a whole head: ``python scripts/benchmark_speed.py [key=value ...]``.

A generated head of 192 x 224 x 192 mm, 4 mm slices, is restored with 15 steps, 1 sample, one plane per step;
printed are minutes, the shares of network and replacement in the sampling time, and the peak memory.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from omegaconf import OmegaConf

from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.commands.overrides import compose, quote
from focvs.pipeline import super_resolve
from focvs.scan.nifti import write_nifti


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        scan = Path(name) / "scan.nii.gz"
        slices = simulate_slices(1000 * head_phantom((192, 224, 192))[1], 1.0, gaussian_profile(4.0), 4.0)
        write_nifti(scan, slices, np.diag([1.0, 1.0, 4.0, 1.0]), nib.Nifti1Header())
        words = [f"scan={quote(str(scan))}", "steps=15", "samples=1", "planes=alternate", "figure=false", *sys.argv[1:]]
        paths = super_resolve(OmegaConf.to_object(compose("config", words)))
        report = json.loads(paths["json"].read_text())
    seconds = report["seconds"]
    print(f"total {seconds['total'] / 60:.2f} min, sampling {seconds['sampling'] / 60:.2f} min")
    print(f"network {100 * seconds['network'] / seconds['sampling']:.1f} % of sampling")
    print(f"replacement {100 * seconds['replacement'] / seconds['sampling']:.1f} % of sampling")
    print(f"peak memory {report['peak_memory_mib'] / 1024:.2f} GiB")
    print(f"relative residual {report['consistency']['relative_residual']:.1e}")


if __name__ == "__main__":
    main()
