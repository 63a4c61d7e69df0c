"""Scores of uncertainty on distributions whose scores are known, factors that hold what they promise, their file."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from test_pipeline import reread, settings

from focvs.config import RunConfig
from focvs.errors import PriorError
from focvs.evaluation import uncertainty
from focvs.pipeline import super_resolve
from focvs.preparation import choose_interval
from focvs.priors.intervals import LEVELS, IntervalRow, IntervalTable, ordered
from focvs.priors.pretrained import INTERVALS, load_prior

RNG = np.random.default_rng(0)
ROW = IntervalRow(4.0, 4.0, (1.0, 2.0, 3.0, 4.0), ("some_head",))
TABLE = IntervalTable(
    "resample", 0.25, "calibrated", 8, (ROW, replace(ROW, thickness_mm=6.0, spacing_mm=8.0, factors=(2.0, 4, 6, 8)))
)


@pytest.mark.parametrize("samples", [2, 4, 8])
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_student_intervals_hold_one_more_normal_draw(samples, level):
    draws = 3 + RNG.normal(size=(samples + 1, 100_000))
    error = draws[:-1].mean(0) - draws[-1]
    half = uncertainty.student_half_width(draws[:-1].std(0, ddof=1), samples, level)
    assert uncertainty.coverage(error, half) == pytest.approx(level, abs=0.006)


def test_factors_hold_their_share_of_the_heads_together_and_of_one_alike():
    deviation = RNG.uniform(0.5, 2, size=50_000)
    sharp, dull = deviation * RNG.normal(size=50_000), 3 * deviation * RNG.normal(size=50_000)
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


def test_crps_of_few_samples_is_that_of_many():
    truth = RNG.normal(size=200_000)
    samples = 0.5 + 2 * RNG.normal(size=(3, truth.size))
    exact = uncertainty.normal_crps(0.5 - truth, np.full(truth.size, 2.0))
    assert uncertainty.sample_crps(samples, truth) == pytest.approx(exact, rel=0.01)
    assert uncertainty.normal_crps(np.zeros(3), np.ones(3)) == pytest.approx((math.sqrt(2) - 1) / math.sqrt(math.pi))
    far = np.array([50.0])  # far away it is the absolute error less half the mean distance of two draws
    assert uncertainty.normal_crps(far, np.ones(1)) == pytest.approx(50 - 1 / math.sqrt(math.pi))


@pytest.mark.parametrize("confidence", [1.0, 0.25])
def test_spread_over_skill_is_one_for_honest_samples(confidence):
    samples, truth = confidence * RNG.normal(size=(4, 100_000)), RNG.normal(size=100_000)
    error = samples.mean(0) - truth
    ratio = uncertainty.spread_skill(samples.std(0, ddof=1), error, 4)
    expected = confidence * math.sqrt(1.25 / (1 + confidence**2 / 4))
    assert ratio == pytest.approx(expected, rel=0.01)


def test_rank_correlation_knows_order_only():
    deviation = RNG.uniform(size=1000)
    assert uncertainty.rank_correlation(deviation, -(deviation**3)) == pytest.approx(1)
    assert abs(uncertainty.rank_correlation(deviation, RNG.normal(size=1000))) < 0.1


@pytest.mark.parametrize(("spacing", "factor"), [(2.0, 3.0), (4.0, 3.0), (5.0, 3.75), (8.0, 6.0), (11.0, 6.0)])
def test_factors_are_linear_in_the_spacing_and_continued(spacing, factor):
    assert TABLE.factor(spacing, 0.9) == pytest.approx(factor)
    assert replace(TABLE, rows=(ROW,)).factor(spacing, 0.9) == 3.0
    with pytest.raises(ValueError, match=r"no intervals of 0\.7"):
        TABLE.factor(spacing, 0.7)


def test_a_table_comes_back_in_order(tmp_path):
    replace(TABLE, rows=TABLE.rows[::-1]).save(tmp_path / INTERVALS)
    assert IntervalTable.load(tmp_path / INTERVALS) == replace(TABLE, rows=ordered(TABLE.rows))


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
    TABLE.save(folder / INTERVALS)
    return folder


def test_a_run_takes_its_factor_from_the_table(tmp_path, thick_scan, tiny_prior, measured_prior):
    widths = []
    for prior in (tiny_prior, measured_prior):
        paths = super_resolve(settings(thick_scan, tmp_path / prior.name, prior, "samples=3", "sampler.spread=0.25"))
        mean, low, high = (reread(paths[name]) for name in ("mean", "q05", "q95"))
        np.testing.assert_allclose(high - mean, mean - low, atol=2e-3)
        widths.append((high - low).sum())
        interval = json.loads(paths["json"].read_text())["interval"]
        assert interval["level"] == 0.9 and interval["calibrated"] == (prior == measured_prior)
    spacing = 6.0
    assert widths[1] / widths[0] == pytest.approx(TABLE.factor(spacing, 0.9) / 1.6449, rel=1e-3)
    assert interval["factor"] == TABLE.factor(spacing, 0.9) and "some_head" in interval["reason"]


@pytest.mark.parametrize(
    ("changes", "rule", "stacks", "said"),
    [
        ({"samples": 1}, "calibrated", 0, "one sample"),
        ({"spread": 1.0}, "calibrated", 0, "spread=0.25"),
        ({"name": "ddim"}, "calibrated", 0, "sampler=resample"),
        ({}, "ddnm", 0, "consistency=calibrated"),
        ({}, "calibrated", 1, "single stacks"),
    ],
)
def test_other_settings_are_not_calibrated(measured_prior, changes, rule, stacks, said):
    config = RunConfig(samples=changes.pop("samples", 4))
    config.sampler = replace(config.sampler, **{"name": "resample", "spread": 0.25, **changes})
    interval = choose_interval(config, load_prior(measured_prior), rule, 4.0, stacks)
    assert not interval.calibrated and interval.factor == pytest.approx(1.6449, abs=1e-4) and said in interval.reason
