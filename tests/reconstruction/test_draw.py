"""The mean by a cascade: consistent, through every mirror, with the deviation the prior tells."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from focvs.priors.pretrained import load_prior
from focvs.reconstruction.bounds import measure_uncertainty
from focvs.reconstruction.draw import samples_at_once
from focvs.reconstruction.restore import restore
from runs import mean_prior, settings


@pytest.fixture
def told(posed, thick_scan, tmp_path):
    case, _ = posed
    mean_prior(tmp_path / "mean")
    prior = load_prior(tmp_path / "mean")

    def run(*words, **changes):
        config = settings(thick_scan, None, tmp_path / "mean", "quality=default", "samples=0", "thickness=5", *words)
        config.steps = changes.pop("steps", None)
        return restore(replace(case, prior=replace(prior, **changes)), config)

    return run


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
    one, two, many = (told(steps=k) for k in (1, 2, 9))
    assert one.evaluations == 2 and not np.array_equal(one.mean, two.mean)
    assert np.array_equal(two.mean, many.mean)


def test_mirrors_are_averaged(told):
    """The mean over mirrors commutes with them, up to the acquisition: a single evaluation does not."""
    assert not np.allclose(told("sampler.mirrors=2").mean, told().mean, atol=1e-3)


def test_without_a_deviation_there_are_no_maps(posed, told):
    case, _ = posed
    restoration = told(deviation=None)
    assert restoration.interval is None
    assert measure_uncertainty(restoration, case.scan, case.acquisition) is None


def test_samples_at_once_are_those_that_fit(posed, monkeypatch):
    case, config = posed
    config = replace(config, samples=9, batch="auto")
    assert samples_at_once(case, config) == 1
    assert samples_at_once(case, replace(config, batch=3)) == 3
    each = 12 * case.start.numel() * 4
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10 * each, 20 * each))
    assert samples_at_once(replace(case, device="cuda"), config) == 6
    assert samples_at_once(replace(case, device="cuda"), replace(config, samples=2)) == 2


def test_a_plane_of_its_own(told):
    assert told("planes=coronal").evaluations == 2
