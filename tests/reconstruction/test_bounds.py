import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from focvs.config import checkpoints_dir
from focvs.pipeline import super_resolve
from focvs.priors.intervals import IntervalTable
from focvs.priors.pretrained import INTERVALS, load_prior
from focvs.reconstruction.bounds import choose_interval, interval_settings
from focvs.reconstruction.forward_model import model_acquisition
from focvs.run_config import RunConfig
from focvs.sampling.statistics import normal_quantile, predictive_deviation, replaced_noise
from focvs.scan.scan import read_scan
from interval_tables import TABLE
from runs import reread, settings


@pytest.fixture
def measured_prior(tmp_path, tiny_prior):
    folder = tmp_path / "prior"
    folder.mkdir()
    for path in tiny_prior.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    used = interval_settings(settings("scan.nii.gz", None, tiny_prior), "calibrated", True)
    replace(TABLE, weights=load_prior(tiny_prior).sha256, settings=used).save(folder / INTERVALS)
    return folder


def test_a_noisy_scan_that_is_not_reproduced_keeps_the_measured_factor(tmp_path, thick_scan, measured_prior):
    config = settings(thick_scan, tmp_path, measured_prior, "samples=2", "noise=120")
    report = json.loads(super_resolve(config)["json"].read_text())
    assert report["consistency"]["final_replacement"] is False
    assert report["interval"]["factor"] == pytest.approx(TABLE.factor(6.0, 0.9))
    assert (
        not report["interval"]["calibrated"]
        and "a mean that is not made to reproduce the scan" in report["interval"]["reason"]
    )
    assert any("q05" in warning for warning in report["warnings"])


@pytest.mark.parametrize("noise", [0.0, 120.0])
def test_the_interval_that_is_written_is_that_of_the_written_samples(tmp_path, thick_scan, measured_prior, noise):
    words = ["samples=3", "sampler.temperature=0.25", "save_samples=true", f"noise={noise}", "final_replacement=true"]
    config = settings(thick_scan, tmp_path, measured_prior, *words)
    paths = super_resolve(config)
    mean, low, high = (reread(paths[name]) for name in ("mean", "q05", "q95"))
    assert (low >= np.minimum(mean, 0) - 2e-3).all()  # the scan is not negative
    np.testing.assert_allclose((high - mean)[low > 0], (mean - low)[low > 0], atol=2e-3)
    samples = np.stack([reread(paths[f"sample-{m:02d}"]) for m in (1, 2, 3)])
    deviation = predictive_deviation(torch.from_numpy(samples.std(0, ddof=1)), 3).numpy()
    factor = TABLE.factor(6.0, 0.9)
    inside = np.zeros(mean.shape, bool)
    inside[15:-15, 15:-15, 10:-10] = True  # away from the box of the head, at which the pooled variances end
    assert deviation[inside].min() > 0
    scan = read_scan(thick_scan)
    operator = model_acquisition(scan, config).written
    taken_over = normal_quantile(0.9) * replaced_noise(operator, noise).numpy()
    assert (taken_over.max() > 0.3 * factor * deviation[inside].mean()) == (noise > 0)
    expected = np.hypot(factor * deviation, np.broadcast_to(taken_over, mean.shape))
    np.testing.assert_allclose((high - mean)[inside], expected[inside], rtol=0.02)
    report = json.loads(paths["json"].read_text())
    interval = report["interval"]
    assert not any("q05" in warning for warning in report["warnings"])
    assert interval["level"] == 0.9 and interval["factor"] == factor and interval["calibrated"]
    assert "some_head" in interval["reason"]


@pytest.mark.parametrize(
    ("changes", "stacks", "slices", "factor", "said"),
    [
        ({"temperature": 1.0}, 0, (4.0, 4.0), 1.6449, "temperature=0.25"),
        ({"name": "ddim"}, 0, (4.0, 4.0), 1.6449, "sampler=resample"),
        ({"rho": 1.0}, 0, (4.0, 4.0), 1.6449, "sampler.rho=7.0"),
        ({"adapt": True}, 0, (4.0, 4.0), 1.6449, "adapt=False"),
        ({"air": 0.5}, 0, (4.0, 4.0), 1.6449, "consistency.air=0.1"),
        ({}, 1, (4.0, 4.0), 1.6449, "single stacks"),
        ({"guide": "t1.nii.gz"}, 0, (4.0, 4.0), 3.0, "; a mean with a guide is far from those"),
        ({}, 0, (20.0, 20.0), 6.0, "far from those"),
        ({}, 0, (2.0, 2.0), 3.0, "far from those"),
        ({}, 0, (2.0, 4.0), 3.0, "; slices of 2 mm every 4 mm is far from those"),
        ({"profile": "kspace"}, 0, (4.0, 4.0), 3.0, "; profile=kspace is far from those"),
    ],
)
def test_what_nothing_was_measured_on_is_not_calibrated(measured_prior, changes, stacks, slices, factor, said):
    changes = dict(changes)
    config = settings("scan.nii.gz", None, measured_prior, "samples=4")
    config.adapt = changes.pop("adapt", False)
    config.profile.kind, config.guide = changes.pop("profile", "gaussian"), changes.pop("guide", None)
    config.consistency.air = changes.pop("air", config.consistency.air)
    config.sampler = replace(config.sampler, **changes)
    interval = choose_interval(config, load_prior(measured_prior), "calibrated", True, *slices, stacks)
    assert not interval.calibrated and interval.factor == pytest.approx(factor, abs=1e-4) and said in interval.reason


def test_with_a_guide_the_factors_count_where_the_deviation_is_told_of_it(measured_prior):
    config, prior = settings("scan.nii.gz", None, measured_prior, "guide=t1.nii.gz"), load_prior(measured_prior)
    told = replace(prior, guided_deviation=prior.denoise)
    interval = choose_interval(config, told, "calibrated", True, 4.0, 4.0, 0)
    assert interval.calibrated and interval.factor == 3.0 and interval.reason.endswith("no added noise, no guide")


def test_a_table_that_says_less_than_decides_does_not_count(measured_prior):
    table = IntervalTable.load(measured_prior / INTERVALS)
    replace(table, settings={k: v for k, v in table.settings.items() if k != "pooling"}).save(
        measured_prior / INTERVALS
    )
    config = settings("scan.nii.gz", None, measured_prior)
    interval = choose_interval(config, load_prior(measured_prior), "calibrated", True, 4.0, 4.0, 0)
    assert not interval.calibrated and "pooling=unknown" in interval.reason


def test_a_table_of_other_weights_does_not_count(measured_prior):
    TABLE.save(measured_prior / INTERVALS)
    interval = choose_interval(RunConfig(samples=2), load_prior(measured_prior), "calibrated", True, 4.0, 4.0, 0)
    assert not interval.calibrated and "other weights" in interval.reason


def test_the_shipped_table_is_of_the_shipped_weights():
    prior = load_prior(checkpoints_dir() / "head2d")
    assert prior.intervals.weights == prior.sha256


def test_priors_without_a_table_and_single_samples(tiny_prior, measured_prior):
    interval = choose_interval(RunConfig(samples=2), load_prior(tiny_prior), "calibrated", True, 4.0, 4.0, 0)
    assert not interval.calibrated and "no intervals" in interval.reason
    assert choose_interval(RunConfig(samples=1), load_prior(measured_prior), "calibrated", True, 4.0, 4.0, 0) is None
