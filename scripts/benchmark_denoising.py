"""Denoising errors of priors: ``python scripts/benchmark_denoising.py TRUTH [TRUTH ...] --priors PATH [PATH ...]``.

Root mean square error inside the head, in prior units (a head spans -1 to 1), with white noise of several sigma, of
slices of an isotropic volume that contain the superior-inferior axis, or of a multi-slice scan's own. A conditioned
prior is told of a noise-free scan along the last axis of the slices, and is shown without it as well; one that sees
slabs is shown them, and slices alone. The last columns are the error of that interpolated scan itself, and by how many
dB the prior's are below it in the mean over the levels.

    python scripts/benchmark_denoising.py $FOCVS_DATA/eval/isotropic/*.nii.gz --priors checkpoints/head2d --slices 4:4
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from focvs.evaluation.denoising import SIGMAS, denoising_errors, gain_db, held_out, interpolation_error
from focvs.priors.pretrained import load_prior


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--priors", nargs="+", type=Path, required=True)
    parser.add_argument("--slices", default="4:4", help="thickness:spacing in mm of the scan told")
    options = parser.parse_args()
    thickness, spacing = map(float, options.slices.split(":"))
    levels = " ".join(f"{s:>7.2f}" for s in SIGMAS)
    print(f"{'truth':17s} {'prior':40s} {levels} {'scan':>7s} {'gain dB':>7s}")
    for path in options.truth:
        head = held_out(path)
        slices = head.acquisition(thickness, spacing)
        without = interpolation_error(head, slices)
        for folder in options.priors:
            prior = load_prior(folder)
            slabs = sorted({1, prior.slab}, reverse=True) if head.isotropic else [1]
            for slab, told in itertools.product(slabs, (True, False) if prior.conditioned else (False,)):
                errors = denoising_errors(prior, head, slices if told else None, slab)
                name = f"{folder}{f' slab {slab}' if prior.slab > 1 else ''}{' told ' + options.slices if told else ''}"
                row = " ".join(f"{e:7.4f}" for e in (*errors.mean(1).sqrt(), without.mean().sqrt()))
                gain = float(gain_db(without, errors).mean())
                print(f"{path.name.split('.')[0]:17s} {name[-40:]:40s} {row} {gain:7.2f}", flush=True)


if __name__ == "__main__":
    main()
