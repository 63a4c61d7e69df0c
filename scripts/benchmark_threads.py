"""What a core each is worth: ``python scripts/benchmark_threads.py [PRIOR]``.

Slabs of whole slices are denoised with all cores on one batch after the other, and with a core for every batch, as
:func:`focvs.parallel.in_parallel` does; the least of three times each, and their ratio.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import torch

from focvs.parallel import in_parallel
from focvs.priors.condition import ScanCondition, ScanNumbers
from focvs.priors.planes import PIXELS_PER_BATCH
from focvs.priors.pretrained import load_prior

SIZES = ((96, 96), (176, 176), (224, 192))
BATCHES, REPEATS = 8, 3


def main() -> None:
    prior = load_prior(Path(sys.argv[1] if len(sys.argv) > 1 else "checkpoints/head2d"))
    threads = torch.get_num_threads()
    print(f"{'slices':>10s} {'all on one':>11s} {'one each':>9s} {'ratio':>6s}   ({threads} cores)")
    for height, width in SIZES:
        slabs = torch.randn(BATCHES * max(1, PIXELS_PER_BATCH // (height * width)), prior.slab, height, width)

        def denoise(places: torch.Tensor, slabs: torch.Tensor = slabs) -> torch.Tensor:
            return prior.denoise(slabs[places], 0.3, ScanCondition.of(slabs[places], ScanNumbers(4.0, 4.0, 0.01)))

        batches = torch.arange(len(slabs)).chunk(BATCHES)
        together = least(lambda d=denoise, b=batches: [d(places) for places in b])
        each = least(lambda d=denoise, b=batches: in_parallel(d, b, torch.device("cpu")))
        print(f"{height:>5d}x{width:<4d} {together:9.2f} s {each:7.2f} s {together / each:6.2f}", flush=True)


def least(function) -> float:
    """Seconds of the fastest of a few runs."""
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


if __name__ == "__main__":
    main()
