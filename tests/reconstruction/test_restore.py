"""The algorithm on a case: what it gives, and that a sample is its own whatever runs beside it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from focvs.priors.pretrained import load_prior
from focvs.reconstruction.restore import restore
from focvs.reconstruction.timing import Stopwatch
from runs import settings


@pytest.fixture
def told(posed, thick_scan, tiny_conditioned_prior):
    case, _ = posed

    def run(*words, **changes):
        config = settings(thick_scan, None, tiny_conditioned_prior, "thickness=5", *words)
        clock = Stopwatch()
        return restore(replace(case, prior=load_prior(tiny_conditioned_prior), **changes), config, clock), clock

    return run


def test_the_mean_is_that_of_the_samples_and_all_reproduce_the_scan(posed, told):
    case, _ = posed
    restoration, clock = told("samples=3", "nonnegative=false")  # which is no linear step
    samples = np.stack(list(restoration.samples))
    assert np.allclose(samples.mean(0), restoration.mean, atol=1e-3 * np.ptp(restoration.mean))
    for volume in (restoration.mean, *samples):
        seen = case.acquisition.written(torch.from_numpy(volume).double()).numpy()
        assert np.abs(seen - case.scan.data).max() < 1e-5 * np.ptp(case.scan.data)
    assert restoration.exact and restoration.rule == "calibrated" and restoration.misfit > 0
    assert {"sampling", "network", "replacement", "calibration"} <= set(clock.seconds)


def test_no_sample_of_a_seed_is_one_of_its_neighbour(told):
    """Seeds that were added to sample numbers made sample 2 of seed 0 sample 1 of seed 1."""
    first, second = (list(told("samples=2", f"seed={seed}")[0].samples) for seed in (0, 1))
    assert all(np.abs(a - b).max() > 1 for a in first for b in second)
    again = list(told("samples=2", "batch=2")[0].samples)
    assert all(np.allclose(a, b, atol=0.05) for a, b in zip(first, again, strict=True))


def test_a_rule_that_replaces_nothing_leaves_the_scan_out(posed, told):
    restoration, _ = told("samples=1", "consistency=none", "sampler=ddim")
    case, _ = posed
    seen = case.acquisition.written(torch.from_numpy(restoration.mean).double()).numpy()
    assert np.abs(seen - case.scan.data).max() > 1e-3 * np.ptp(case.scan.data)
    assert not restoration.exact and restoration.interval is None
