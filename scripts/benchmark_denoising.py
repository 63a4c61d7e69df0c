r"""Denoising errors of priors: ``python scripts/benchmark_denoising.py TRUTH [TRUTH ...] --priors NAME=PATH [...]``.

Root mean square error inside the head, in prior units (a head spans -1 to 1), with white noise of several sigma, of
slices of an isotropic volume that contain the superior-inferior axis, or of a multi-slice scan's own. A conditioned
prior is told of a noise-free scan along the last axis of the slices, and is shown without it as well; one that sees
slabs is shown them, and slices alone. The last columns are the error of that interpolated scan itself, and by how many
dB the prior's are below it in the mean over the levels.

    python scripts/benchmark_denoising.py $FOCVS_DATA/eval/isotropic/*.nii.gz --slices 4:4 \
        --priors head2d=checkpoints/head2d --csv docs/results/denoising.csv
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

from focvs.acquisition.degradation import Degradation
from focvs.evaluation.denoising import (
    SIGMAS,
    HeldOut,
    denoising_errors,
    gain_db,
    held_out,
    interpolation_error,
)
from focvs.files import write_csv
from focvs.priors.pretrained import load_prior
from focvs.priors.prior import Prior
from focvs.scan.formats import image_stem


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("truth", nargs="+", type=Path)
    parser.add_argument("--priors", nargs="+", type=named, required=True, metavar="NAME=PATH")
    parser.add_argument("--slices", default="4:4", help="thickness:spacing in mm of the scan told")
    parser.add_argument("--csv", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    thickness, spacing = map(float, options.slices.split(":"))
    levels = " ".join(f"{s:>7.2f}" for s in SIGMAS)
    print(f"{'truth':12s} {'prior':16s} {'shown':32s} {levels} {'scan':>7s} {'gain dB':>7s}")
    rows = []
    for path in options.truth:
        head = held_out(path)
        for name, folder in options.priors:
            for found in measure(load_prior(folder), head, head.acquisition(thickness, spacing)):
                rows.append({"truth": image_stem(path), "slices": options.slices, "prior": name, **found})
                words, figures = list(rows[-1].values()), list(found.values())[1:]
                print(f"{words[0]:12s} {name:16s} {words[3]:32s}", *(f"{f:>7s}" for f in figures), flush=True)
        if options.csv and rows:
            write_csv(options.csv, rows, list(rows[0]))


def measure(prior: Prior, head: HeldOut, slices: Degradation) -> Iterator[dict[str, str]]:
    """What the prior is shown, and the columns of its errors, for each way it can be shown the head.

    There is none for a 3D prior and slices that stand alone, or one with an orientation of its own.
    """
    if prior.dimensions == 3 and (prior.axes or not head.isotropic):
        return
    without = interpolation_error(head, slices)
    slabs = sorted({1, prior.slab}, reverse=True) if head.isotropic else [1]
    for slab, told in itertools.product(slabs, (True, False) if prior.conditioned else (False,)):
        errors = denoising_errors(prior, head, slices if told else None, slab)
        some = "blocks" if prior.dimensions == 3 else "slabs" if slab > 1 else "slices alone"
        each = zip(SIGMAS, errors.mean(1).sqrt().tolist(), strict=True)
        yield {
            "shown": f"{some}, {'told of' if told else 'without'} the scan",
            **{f"sigma_{sigma:g}": f"{error:.4f}" for sigma, error in each},
            "interpolated": f"{float(without.mean().sqrt()):.4f}",
            "gain_db": f"{float(gain_db(without, errors).mean()):.2f}",
        }


def named(text: str) -> tuple[str, Path]:
    """``NAME=PATH``, or a path that is its own name."""
    name, equals, path = text.partition("=")
    return (name, Path(path)) if equals and not Path(text).exists() else (Path(text).name, Path(text))


if __name__ == "__main__":
    main()
