"""How far registration with thick slices puts a guide from where registration with all slices puts it.

Every second, or third, slice of a scan is kept, and a guide is aligned to those as ``guide=`` aligns it, and to the
whole scan. Printed is the distance between the two places, in mm, mean and largest over the head.

    python scripts/guide_placement.py SCAN GUIDE
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from benchmark_guides import LeftOut
from focvs.reconstruction.guide import align_guide
from focvs.scan.formats import image_stem
from focvs.scan.scan import read_scan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("guide", type=Path)
    options = parser.parse_args()
    whole = read_scan(options.scan)
    places = np.argwhere(whole.head)
    world = np.c_[places, np.ones(len(places))] @ whole.affine.T
    expected = world @ align_guide(options.guide, whole, rigid=True).moved.T
    for every in (2, 3):
        thinned = LeftOut(options.scan, every)
        with tempfile.TemporaryDirectory(prefix="focvs-") as folder:
            path = Path(folder) / f"{whole.stem}.nii.gz"
            thinned.write(path)
            found = world @ align_guide(options.guide, read_scan(path), rigid=True).moved.T
        away = np.linalg.norm((found - expected)[:, :3], axis=1)
        print(
            f"{image_stem(options.scan)} by {image_stem(options.guide)}  {thinned.slices}  "
            f"mean {away.mean():.2f} mm  largest {away.max():.2f} mm",
            flush=True,
        )


if __name__ == "__main__":
    main()
