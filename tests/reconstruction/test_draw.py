"""The mean by a cascade: consistent, through every mirror, with the deviation the prior tells."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from focvs.errors import InputError
from focvs.priors.pretrained import load_prior
from focvs.reconstruction import draw, self_calibration
from focvs.reconstruction.bounds import measure_uncertainty
from focvs.reconstruction.draw import samples_at_once
from focvs.reconstruction.restore import restore
from focvs.sampling.samplers import make_sampler
from runs import settings


def test_the_mean_reproduces_the_scan_and_says_how_far_it_may_be_off(posed, told):
    case, _ = posed
    restoration = told()
    seen = case.acquisition.written(torch.from_numpy(restoration.mean).double()).numpy()
    assert np.abs(seen - case.scan.data).max() < 1e-5 * np.ptp(case.scan.data)
    assert len(restoration.samples) == 0 and restoration.evaluations == 4
    maps = measure_uncertainty(restoration, case.scan, case.acquisition)
    assert (maps.std[restoration.sampled] > 0).mean() > 0.5 and (maps.nullstd <= maps.std).all()
    assert (maps.q05 <= restoration.mean).all() and (restoration.mean <= maps.q95).all()
    assert (maps.std[~restoration.sampled] == 0).all()
    assert not restoration.interval.calibrated and "no intervals" in restoration.interval.reason


def test_fewer_stages_are_another_mean_and_more_are_all(told):
    one, two, whole = (told(steps=k) for k in (1, 2, None))
    assert one.evaluations == 2 and not np.array_equal(one.mean, two.mean)
    assert np.array_equal(two.mean, whole.mean)
    with pytest.raises(InputError, match="has 2 stages"):
        told(steps=3)


def test_mirrors_are_averaged(told):
    """The mean over mirrors commutes with them, up to the acquisition: a single evaluation does not."""
    assert not np.allclose(told("sampler.mirrors=2").mean, told().mean, atol=1e-3)


def test_without_a_deviation_there_are_no_maps(posed, told):
    case, _ = posed
    restoration = told(deviation=None)
    assert restoration.interval is None
    assert measure_uncertainty(restoration, case.scan, case.acquisition) is None


def test_a_head_too_small_to_measure_on_is_restored_with_a_word(told, monkeypatch):
    def refuse(*_, **__):
        raise ValueError("too small")

    monkeypatch.setattr(self_calibration, "measure_errors", refuse)
    restoration = told()
    assert any("all frequencies alike" in warning for warning in restoration.warnings) and restoration.exact


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


def test_a_plane_of_its_own(told):
    assert told("planes=coronal").evaluations == 2
