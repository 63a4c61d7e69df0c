"""Draw 64 training patches: ``python scripts/contact_sheet.py CACHE OUT.png [--scan] [--seed N]``.

With ``--scan`` each patch stands beside the scan interpolated to its pixels, slice axis from left to right.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from hydra import compose, initialize_config_dir

from focvs.config import conf_dir
from focvs.training.cache import load_cache
from focvs.training.datasets import Augmentation, PatchDataset


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--scan", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("train")
    dataset = PatchDataset(
        load_cache(options.cache),
        dict(config.group_weights),
        config.patch,
        tuple(config.voxel_range_mm),
        options.seed,
        augmentation=Augmentation(**config.augmentation),
    )
    rows = []
    for row in range(8):
        tiles = [dataset[8 * row + column] for column in range(8)]
        images = [np.hstack([clean[0], scan[0]]) if options.scan else clean[0].numpy() for clean, scan, _, _ in tiles]
        rows.append(np.hstack([np.pad(i, 1, constant_values=1.0) for i in images]))
    plt.imsave(options.out, np.vstack(rows).clip(-1, 1), cmap="gray", vmin=-1, vmax=1)


if __name__ == "__main__":
    main()
