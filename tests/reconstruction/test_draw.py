"""The mean by a cascade: consistent, through every mirror, with the deviation the prior tells."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from focvs.errors import InputError
from focvs.reconstruction import draw, self_calibration
from focvs.reconstruction.bounds import measure_uncertainty


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


def test_no_deviation_above_half_of_the_white_level_is_believed(posed, told, monkeypatch):
    half = posed[0].slices.units.white / 2
    free = told().deviation
    limit = float(np.quantile(free[free > 0], 0.7)) / half  # that many exceed
    monkeypatch.setattr(draw, "MOST", draw.MOST + np.log(limit))
    held = told().deviation
    assert held.max() == pytest.approx(limit * half, rel=1e-5) and held.max() < free.max()
    np.testing.assert_allclose(held, np.minimum(free, limit * half), rtol=1e-4)


def test_no_end_of_the_interval_is_below_zero_where_the_scan_is_not(posed, told):
    case, _ = posed
    restoration = told()
    assert case.scan.data.min() >= 0
    mean = restoration.mean - 0.1 * case.scan.units.white  # as noise would have it
    maps = measure_uncertainty(replace(restoration, mean=mean), case.scan, case.acquisition)
    inside = restoration.sampled & (restoration.deviation > 0)
    assert (mean[inside] < 0).any() and (maps.q95[inside] >= 0).all()
    assert (maps.q05[inside] >= np.minimum(mean, 0)[inside]).all()


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


def test_a_plane_of_its_own(told):
    assert told("planes=coronal").evaluations == 2
