"""Samples at once: as many as fit, and the same ones however many."""

from dataclasses import replace

import numpy as np
import torch

from focvs.priors.pretrained import load_prior
from focvs.reconstruction import draw
from focvs.reconstruction.batches import samples_at_once
from focvs.reconstruction.restore import restore
from focvs.sampling.samplers import make_sampler
from runs import settings


def test_memory_that_runs_out_makes_smaller_batches_of_the_same_samples(posed, thick_scan, tiny_prior, monkeypatch):
    case, _ = posed
    case = replace(case, prior=load_prior(tiny_prior))
    config = settings(thick_scan, None, tiny_prior, "thickness=5", "samples=3", "batch=3")
    one, sizes = restore(case, replace(config, batch=1)), []

    def crowded(*words, **options):
        run = make_sampler(*words, **options)

        def sampler(denoise, x, sigmas):
            sizes.append(len(x))
            if len(x) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return run(denoise, x, sigmas)

        return sampler

    monkeypatch.setattr(draw, "make_sampler", crowded)
    again = restore(case, config)
    assert sizes == [3, 1, 1, 1]
    assert all(np.array_equal(a, b) for a, b in zip(one.samples, again.samples, strict=True))


def test_samples_at_once_are_those_that_fit(posed, tiny_prior, monkeypatch):
    case, config = posed
    case, config = replace(case, prior=load_prior(tiny_prior)), replace(config, samples=9, batch="auto")
    assert samples_at_once(case, config) == 1
    assert samples_at_once(case, replace(config, batch=3)) == 3
    each = 12 * case.start.numel() * 4
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * each, 20 * each))
    assert samples_at_once(replace(case, device="cuda"), config) == 6
    assert samples_at_once(replace(case, device="cuda"), replace(config, samples=2)) == 2
    volumetric = replace(case, device="cuda", prior=replace(case.prior, dimensions=3))
    assert samples_at_once(volumetric, config) == 1  # whose activations are larger than its volumes
