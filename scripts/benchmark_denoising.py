"""Denoising errors of priors: ``python scripts/benchmark_denoising.py TRUTH [TRUTH ...] --priors PATH [PATH ...]``.

Root mean square error inside the head, in prior units (a head spans -1 to 1), of slices across the first axis that is
not superior-inferior, with white noise of several sigma. A conditioned prior is told of a noise-free scan along the
superior-inferior axis, and is shown without it as well; one that sees slabs is shown them, and slices alone; the last
column is the error of that interpolated scan itself.

    python scripts/benchmark_denoising.py $FOCVS_DATA/eval/isotropic/*.nii.gz --priors checkpoints/head2d --slices 4:4
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import nibabel as nib
import numpy as np
import torch

from focvs.acquisition.degradation import make_degradation
from focvs.acquisition.profile import gaussian_profile
from focvs.priors.networks import ScanCondition
from focvs.priors.pretrained import load_prior
from focvs.volume import head_mask, intensity_scale, read_nifti

SIGMAS = (0.05, 0.1, 0.2, 0.4, 0.8)
EVERY = 6  # slices of the middle half that are used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--priors", nargs="+", type=Path, required=True)
    parser.add_argument("--slices", default="4:4", help="thickness:spacing in mm of the scan told")
    options = parser.parse_args()
    thickness, spacing = map(float, options.slices.split(":"))
    print(f"{'truth':12s} {'prior':36s} " + " ".join(f"{s:>7.2f}" for s in SIGMAS) + f" {'scan':>7s}")
    for path in options.truth:
        data, affine, _, _ = read_nifti(path)
        data = np.moveaxis(data, next(i for i, c in enumerate(nib.aff2axcodes(affine)) if c in "SI"), -1)
        voxel = float(np.linalg.norm(affine[:3, :3], axis=0).max())
        scale = intensity_scale(data)
        images, masks = torch.from_numpy(2 * data / scale - 1), torch.from_numpy(head_mask(data, scale))
        chosen = torch.arange(len(images) // 4, 3 * len(images) // 4, EVERY)
        masks = masks[chosen][:, None]
        acquisition = make_degradation(gaussian_profile(thickness / voxel), spacing / voxel, images.shape[-1])
        truth = images[chosen][:, None]
        without = rms(acquisition(truth) - truth, masks)
        noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        for folder in options.priors:
            prior = load_prior(folder)
            slabs = sorted({1, prior.slab}, reverse=True)
            for slab, told in itertools.product(slabs, (True, False) if prior.conditioned else (False,)):
                around = chosen[:, None] + torch.arange(slab) - slab // 2
                errors = []
                for sigma in SIGMAS:
                    noisy = (images + sigma * noise)[around]
                    condition = (ScanCondition.simulated(acquisition, images[around]),) if told else ()
                    errors.append(rms(prior.denoise(noisy, sigma, *condition) - truth, masks))
                name = f"{folder}{f' slab {slab}' if prior.slab > 1 else ''}{' told ' + options.slices if told else ''}"
                row = " ".join(f"{e:7.4f}" for e in errors)
                print(f"{path.name.split('.')[0]:12s} {name[-36:]:36s} {row} {without:7.4f}", flush=True)


def rms(error: torch.Tensor, mask: torch.Tensor) -> float:
    return float(error[mask].square().mean().sqrt())


if __name__ == "__main__":
    main()
