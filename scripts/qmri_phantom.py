"""A generated head to try focvs qmri on: python scripts/qmri_phantom.py OUT [--seed 0] [--acquisition 5:6]

Writes maps of proton density, T1 and T2 as they would be acquired (thickness:spacing of slices in mm, or x2 or x4:
k-space cut off along two axes), an MPRAGE and a T2-weighted spin echo with the JSON of their protocols, the protocol of
a FLAIR, and the true maps. The head is that of scripts/benchmark_qmri.py, a slab of 22 mm from left to right.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from focvs.files import write_json
from focvs.reconstruction.signal_domain import REFERENCE
from focvs.scan.nifti import write_nifti
from qmri_heads import VOXEL_MM, Acquisition, acquired, fine_head, fitted, rendered, shown

PROTOCOLS = {
    "T1w": {
        "ScanningSequence": "GR_IR",
        "SequenceVariant": "SP_MP",
        "RepetitionTime": 2.3,
        "EchoTime": 0.003,
        "InversionTime": 0.9,
        "FlipAngle": 9,
        "EchoSpacing": 0.0072,
        "NumberShots": 176,
    },
    "T2w": {"ScanningSequence": "SE", "RepetitionTime": 4.0, "EchoTime": 0.09},
    "FLAIR": {"ScanningSequence": "IR", "RepetitionTime": 9.0, "EchoTime": 0.12, "InversionTime": 2.4},
}
FILES = ("PDmap", "T1map", "T2map")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--acquisition", type=Acquisition, default=Acquisition("5:6"))
    options = parser.parse_args()
    (options.out / "truth").mkdir(parents=True, exist_ok=True)
    header = nib.Nifti1Header()
    header.set_xyzt_units("mm")
    header.set_sform(np.eye(4), code="scanner")
    header.set_qform(np.eye(4), code="scanner")

    def write(name: str, values: torch.Tensor, voxel_mm: tuple[float, float, float]) -> None:
        """Both fields of view begin at the origin."""
        affine = np.diag([*voxel_mm, 1.0])
        affine[:3, 3] = np.array(voxel_mm) / 2
        write_nifti(options.out / f"{name}.nii.gz", values.numpy().astype(np.float32), affine, header)

    fine, _ = fine_head(options.seed)
    thin = (VOXEL_MM,) * 3
    truth = fitted(REFERENCE, torch.stack([shown(fine, sequence) for sequence in REFERENCE.sequences]))
    maps = acquired(fine, options.acquisition, options.seed)
    for k, name in enumerate(FILES):
        write(f"truth/{name}", truth[..., k], thin)
        write(name, maps[..., k], options.acquisition.voxel_mm())
    for name, guide in rendered(fine, options.seed).items():
        write(name, guide.image, thin)
    for name, protocol in PROTOCOLS.items():
        write_json(options.out / f"{name}.json", protocol)


if __name__ == "__main__":
    main()
