"""Scores of uncertainty on distributions whose scores are known, factors that hold what they promise, their file."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats
from test_pipeline import reread, settings

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.config import RunConfig, checkpoints_dir
from focvs.errors import PriorError
from focvs.evaluation import uncertainty
from focvs.pipeline import super_resolve
from focvs.priors.intervals import LEVELS, IntervalRow, IntervalTable, ordered
from focvs.priors.pretrained import INTERVALS, load_prior
from focvs.reconstruction.bounds import choose_interval, interval_settings
from focvs.reconstruction.forward_model import model_acquisition
from focvs.sampling.statistics import half_width, normal_quantile, predictive_deviation, replaced_noise
from focvs.scan.scan import read_scan

ROW = IntervalRow(4.0, 4.0, (1.0, 2.0, 3.0, 4.0), ("some_head",))
ROWS = (ROW, replace(ROW, thickness_mm=6.0, spacing_mm=8.0, factors=(2.0, 4, 6, 8)))
TABLE = IntervalTable("", {"sampler": "resample", "sampler.temperature": 0.25, "adapt": False}, 8, ROWS)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.mark.parametrize("samples", [2, 4, 8])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_student_intervals_hold_one_more_normal_draw(rng, samples, level):
    draws = 3 + rng.normal(size=(samples + 1, 100_000))
    error = draws[:-1].mean(0) - draws[-1]
    half = uncertainty.student_half_width(draws[:-1].std(0, ddof=1), samples, level)
    assert uncertainty.coverage(error, half) == pytest.approx(level, abs=0.006)


def test_factors_hold_their_share_of_the_heads_together_and_of_one_alike(rng):
    deviation = rng.uniform(0.5, 2, size=50_000)
    sharp, dull = deviation * rng.normal(size=50_000), 3 * deviation * rng.normal(size=50_000)
    factors = uncertainty.factors_of([sharp], [deviation], LEVELS)
    assert factors == pytest.approx([stats.norm.ppf((1 + level) / 2) for level in LEVELS], rel=0.03)
    both = uncertainty.factors_of([sharp, dull[:20_000]], [deviation, deviation[:20_000]], LEVELS)
    for level, factor in zip(LEVELS, both, strict=True):  # heads count alike, whatever their size
        held = [uncertainty.coverage(e, factor * deviation) for e in (sharp, dull)]
        assert np.mean(held) == pytest.approx(level, abs=0.01) and held[0] > level > held[1]
    with pytest.raises(ValueError, match="at least one head"):
        uncertainty.factors_of([], [], LEVELS)
    with pytest.raises(ValueError, match="is 0"):
        uncertainty.factors_of([sharp], [0 * deviation], LEVELS)


def test_an_interval_holds_errors_of_the_prior_and_of_the_noise(rng):
    deviation, noise = rng.uniform(0.5, 2, size=(2, 100_000))
    error = 3 * deviation * rng.normal(size=100_000) + noise * rng.normal(size=100_000)
    for level in LEVELS:
        factor = 3 * stats.norm.ppf((1 + level) / 2)
        half = half_width(torch.from_numpy(deviation), factor, torch.from_numpy(noise), level).numpy()
        assert uncertainty.coverage(error, half) == pytest.approx(level, abs=0.005)


@pytest.mark.parametrize("spacing", [4.0, 5.2])
def test_what_a_replacement_takes_over_of_the_noise(spacing):
    """Of the error (I - A^+ A)(d - x) + A^+ e the second part, whatever the prior says."""
    profile = gaussian_profile(4.0)
    operator = ThroughPlaneOperator(profile, make_grid(10, spacing, 1.3, profile.half_support_mm), "edge")
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(operator.matrix.shape[1], generator=generator, dtype=torch.float64)
    noise = 0.3 * torch.randn(20_000, 10, generator=generator, dtype=torch.float64)
    restored = operator.replace(truth.expand(len(noise), -1), operator(truth) + noise)
    expected = replaced_noise(operator, 0.3)
    assert expected.shape == truth.shape and float(expected.min()) > 0
    assert torch.allclose((restored - truth).std(0), expected, rtol=0.03)


def test_crps_of_few_samples_is_that_of_many(rng):
    truth = rng.normal(size=200_000)
    samples = 0.5 + 2 * rng.normal(size=(3, truth.size))
    exact = uncertainty.normal_crps(0.5 - truth, np.full(truth.size, 2.0))
    assert uncertainty.sample_crps(samples, truth) == pytest.approx(exact, rel=0.01)
    assert uncertainty.normal_crps(np.zeros(3), np.ones(3)) == pytest.approx((math.sqrt(2) - 1) / math.sqrt(math.pi))
    far = np.array([50.0])  # far away it is the absolute error less half the mean distance of two draws
    assert uncertainty.normal_crps(far, np.ones(1)) == pytest.approx(50 - 1 / math.sqrt(math.pi))


@pytest.mark.parametrize("confidence", [1.0, 0.25])
def test_spread_over_skill_is_one_for_honest_samples(rng, confidence):
    samples, truth = confidence * rng.normal(size=(4, 100_000)), rng.normal(size=100_000)
    error = samples.mean(0) - truth
    ratio = uncertainty.spread_skill(samples.std(0, ddof=1), error, 4)
    expected = confidence * math.sqrt(1.25 / (1 + confidence**2 / 4))
    assert ratio == pytest.approx(expected, rel=0.01)


def test_rank_correlation_knows_order_only(rng):
    deviation = rng.uniform(size=1000)
    assert uncertainty.rank_correlation(deviation, -(deviation**3)) == pytest.approx(1)
    assert abs(uncertainty.rank_correlation(deviation, rng.normal(size=1000))) < 0.1


@pytest.mark.parametrize(("spacing", "factor"), [(2.0, 3.0), (4.0, 3.0), (5.0, 3.75), (8.0, 6.0), (11.0, 6.0)])
def test_factors_are_linear_in_the_spacing_and_continued(spacing, factor):
    assert TABLE.factor(spacing, 0.9) == pytest.approx(factor)
    assert replace(TABLE, rows=(ROW,)).factor(spacing, 0.9) == 3.0
    with pytest.raises(ValueError, match=r"no intervals of 0\.7"):
        TABLE.factor(spacing, 0.7)


def test_a_table_comes_back_in_order(tmp_path):
    replace(TABLE, rows=ordered(ROWS[::-1])).save(tmp_path / INTERVALS)
    assert IntervalTable.load(tmp_path / INTERVALS) == TABLE
    with pytest.raises(ValueError, match="ascending"):
        replace(TABLE, rows=(ROW, ROW))


@pytest.mark.parametrize("broken", ["{}", "[]", "not json", '{"levels": [0.5, 0.8, 0.9, 0.95], "rows": []}'])
def test_broken_tables_are_one_sentence(tmp_path, tiny_prior, broken):
    for path in tiny_prior.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / INTERVALS).write_text(broken)
    with pytest.raises(PriorError, match=rf"{INTERVALS} could not be read .*measure it again"):
        load_prior(tmp_path)


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
    assert not report["interval"]["calibrated"] and "final_replacement=False" in report["interval"]["reason"]
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
        ({"spread": 1.0}, 0, (4.0, 4.0), 1.6449, "spread=0.25"),
        ({"name": "ddim"}, 0, (4.0, 4.0), 1.6449, "sampler=resample"),
        ({"rho": 1.0}, 0, (4.0, 4.0), 1.6449, "sampler.rho=7.0"),
        ({"adapt": True}, 0, (4.0, 4.0), 1.6449, "adapt=False"),
        ({"air": 0.5}, 0, (4.0, 4.0), 1.6449, "consistency.air=0.1"),
        ({}, 1, (4.0, 4.0), 1.6449, "single stacks"),
        ({}, 0, (20.0, 20.0), 6.0, "far from those"),
        ({}, 0, (2.0, 2.0), 3.0, "far from those"),
        ({}, 0, (2.0, 4.0), 3.0, "; 2 mm every 4 mm is far from those"),
        ({"profile": "kspace"}, 0, (4.0, 4.0), 3.0, "; profile=kspace is far from those"),
    ],
)
def test_what_nothing_was_measured_on_is_not_calibrated(measured_prior, changes, stacks, slices, factor, said):
    changes = dict(changes)
    config = settings("scan.nii.gz", None, measured_prior, "samples=4")
    config.adapt = changes.pop("adapt", False)
    config.profile.kind = changes.pop("profile", "gaussian")
    config.consistency.air = changes.pop("air", config.consistency.air)
    config.sampler = replace(config.sampler, **changes)
    interval = choose_interval(config, load_prior(measured_prior), "calibrated", True, *slices, stacks)
    assert not interval.calibrated and interval.factor == pytest.approx(factor, abs=1e-4) and said in interval.reason


def test_a_table_that_says_less_than_decides_does_not_count(measured_prior):
    table = IntervalTable.load(measured_prior / INTERVALS)
    replace(table, settings={k: v for k, v in table.settings.items() if k != "pooling"}).save(
        measured_prior / INTERVALS
    )
    load_prior.cache_clear()
    config = settings("scan.nii.gz", None, measured_prior)
    interval = choose_interval(config, load_prior(measured_prior), "calibrated", True, 4.0, 4.0, 0)
    assert not interval.calibrated and "pooling=unknown" in interval.reason


def test_a_table_of_other_weights_does_not_count(measured_prior):
    TABLE.save(measured_prior / INTERVALS)
    load_prior.cache_clear()
    interval = choose_interval(RunConfig(samples=2), load_prior(measured_prior), "calibrated", True, 4.0, 4.0, 0)
    assert not interval.calibrated and "other weights" in interval.reason


def test_the_shipped_table_is_of_the_shipped_weights():
    prior = load_prior(checkpoints_dir() / "head2d")
    assert prior.intervals.weights == prior.sha256


def test_priors_without_a_table_and_single_samples(tiny_prior, measured_prior):
    interval = choose_interval(RunConfig(samples=2), load_prior(tiny_prior), "calibrated", True, 4.0, 4.0, 0)
    assert not interval.calibrated and "no intervals" in interval.reason
    assert choose_interval(RunConfig(samples=1), load_prior(measured_prior), "calibrated", True, 4.0, 4.0, 0) is None


def test_kept_samples_are_those_of_the_same_run(import_script):
    agree = import_script("benchmark_uncertainty").agree
    made = {"scan": "a", "seed": 0, "profile": {"kind": "rect", "path": None}}
    assert agree(made, {**made, "scan": "b", "new": 1})
    assert not agree(made, {**made, "seed": 1})
    assert not agree(made, {**made, "profile": {"kind": "slr", "path": None}})
