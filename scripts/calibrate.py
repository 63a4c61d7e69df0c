"""Store a prior's error table: ``python scripts/calibrate.py PRIOR CACHE``, on the real volumes of a training cache.

Slices of all three planes of isotropic volumes, and in-plane slices of thick ones, are noised at 20 levels and
denoised; the error spectra inside the head, on one axis of cycles per mm, are averaged over volumes (geometric mean)
and written to PRIOR/calibration.safetensors.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from focvs.priors.calibration import BLOCK, ErrorTable, measure_errors
from focvs.priors.pretrained import CALIBRATION, load_prior
from focvs.sampling.noise_schedule import karras_sigmas
from focvs.training.datasets import WHITE_LEVEL, CachedVolume, load_cache
from focvs.volume import head_mask

SLICES = 2  # per volume and plane


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prior", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--levels", type=int, default=20)
    options = parser.parse_args()
    prior = load_prior(options.prior)
    sigmas = karras_sigmas(options.levels, 1.6, 0.01)
    rows = []
    print(f"{'volume':24s} rms error at sigma " + " ".join(f"{s:.3f}" for s in sigmas.flip(0)[::4]))
    for volume in load_cache(options.cache):
        if volume.group not in ("isotropic", "thick"):
            continue
        tables = [
            measure(prior.denoise, volume, axis, sigmas)
            for axis in ((0, 1, 2) if volume.group == "isotropic" else (2,))
        ]
        rows.append(torch.stack([t.at(t.sigmas, BLOCK, 1.0) for t in tables]).log().mean(0))
        print(f"{volume.name:24s} {'':18s} " + " ".join(f"{float(v.exp().mean()) ** 0.5:.3f}" for v in rows[-1][::4]))
    table = ErrorTable(sigmas.sort().values, torch.stack(rows).mean(0).exp(), pixel_mm=1.0)
    table.save(options.prior / CALIBRATION)
    print(f"wrote {options.prior / CALIBRATION}: {len(rows)} volumes")


def measure(denoise, volume: CachedVolume, axis: int, sigmas: torch.Tensor) -> ErrorTable:
    stack = np.moveaxis(volume.data, axis, -1).astype(np.float32) / WHITE_LEVEL
    chosen = np.linspace(0.4, 0.6, SLICES) * stack.shape[-1]
    mask = torch.from_numpy(head_mask(stack, 1.0)[..., chosen.astype(int)]).movedim(-1, 0)[:, None]
    images = torch.from_numpy(2 * stack[..., chosen.astype(int)] - 1).movedim(-1, 0)[:, None].contiguous()
    pixel_mm = float(np.mean(np.delete(np.array(volume.voxel_mm), axis)))
    return measure_errors(denoise, images, mask, sigmas, pixel_mm)


if __name__ == "__main__":
    main()
