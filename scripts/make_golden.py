"""Write what the shipped prior makes of a small scan, for tests/test_golden.py: ``python scripts/make_golden.py``.

To be run where weights, or the algorithm, were meant to change; the difference from what was there is printed. The scan
is kept in the file with the results, so that no generator of heads has a part in the comparison.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np

from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.acquisition.tissue_head import tissue_head
from focvs.files import write_atomically
from focvs.scan.nifti import read_nifti

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "default.npz"
VOXEL_MM, THICKNESS_MM, SPACING_MM = 1.2, 5.0, 6.0
WORDS = ("samples=1", "sampler.levels=4", "thickness=5", "device=cpu", "figure=false", "report=false", "progress=false")
RESULTS = ("mean", "std", "q05", "q95", "sample-01")


def main() -> None:
    if GOLDEN.is_file():
        scan = np.load(GOLDEN)["scan"]
    else:
        head = tissue_head("T1w", 3, (88, 96, 60), VOXEL_MM)[1]
        slices = simulate_slices(1000 * head, VOXEL_MM, gaussian_profile(THICKNESS_MM), SPACING_MM)
        scan = np.rint(slices.clip(0)).astype(np.int16)
    found = restored(scan, "precision=float32")
    if GOLDEN.is_file():
        for name, before in np.load(GOLDEN).items():
            if name != "scan":
                print(f"{name:10s} differs by at most {np.abs(before - found[name]).max():.3g} intensities")
    GOLDEN.parent.mkdir(exist_ok=True)
    write_atomically(GOLDEN, "", lambda part: _save(part, scan=scan, **found))


def restored(scan: np.ndarray, *words: str) -> dict[str, np.ndarray]:
    """Every fourth voxel of each result, float32."""
    from focvs.commands.overrides import compose, quote, to_schema
    from focvs.pipeline import super_resolve

    with tempfile.TemporaryDirectory(prefix="focvs-golden-") as name:
        path = Path(name) / "scan.nii.gz"
        image = nib.Nifti1Image(scan, np.diag([VOXEL_MM, VOXEL_MM, SPACING_MM, 1.0]))
        image.header.set_xyzt_units("mm")
        nib.save(image, path)
        told = [f"scan={quote(str(path))}", f"output_dir={quote(f'{name}/out')}", *WORDS, *words]
        paths = super_resolve(to_schema(compose("config", told)))
        return {key: read_nifti(paths[key])[0][::4, ::4, ::4].astype(np.float32) for key in RESULTS}


def _save(part: Path, **arrays: np.ndarray) -> None:
    with part.open("wb") as stream:
        np.savez_compressed(stream, **arrays)


if __name__ == "__main__":
    main()
