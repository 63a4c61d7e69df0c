"""Store a prior's error table: ``python scripts/calibrate.py PRIOR CACHE``, on the real volumes of a training cache.

Slices of the three planes of isotropic volumes (and in-plane slices of thick ones) are noised at 20 levels and
denoised; the table is the mean over volumes, written to PRIOR/calibration.safetensors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from focvs.priors.calibration import ErrorTable, measure_errors
from focvs.priors.pretrained import CALIBRATION, load_prior
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.training.datasets import WHITE_LEVEL, load_cache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prior", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--levels", type=int, default=20)
    options = parser.parse_args()
    prior = load_prior(options.prior)
    sigmas = karras_sigmas(options.levels, 1.6, 0.01)
    tables = []
    for volume in load_cache(options.cache):
        if volume.group not in ("isotropic", "thick"):
            continue
        middle = volume.data[..., volume.data.shape[2] * 2 // 5 : volume.data.shape[2] * 3 // 5 : 5][..., :3]
        images = torch.from_numpy(np.moveaxis(middle, -1, 0).astype(np.float32) * (2 / WHITE_LEVEL) - 1)[:, None]
        tables.append(measure_errors(prior.denoise, images, images > -0.8, sigmas, float(np.mean(volume.voxel_mm[:2]))))
        print(f"{volume.name:24s} " + " ".join(f"{float(v.mean()) ** 0.5:.4f}" for v in tables[-1].variance[::4]))
    mean = torch.stack([t.variance for t in tables]).log().mean(0).exp()
    table = ErrorTable(tables[0].sigmas, mean, float(np.mean([t.pixel_mm for t in tables])))
    table.save(options.prior / CALIBRATION)
    print(f"wrote {options.prior / CALIBRATION}: {len(tables)} volumes, rms error per level above")


if __name__ == "__main__":
    main()
