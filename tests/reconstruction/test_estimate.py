"""What a run takes, before it starts."""

from dataclasses import replace

import pytest

from focvs.priors.pretrained import load_prior
from focvs.reconstruction import estimate
from focvs.reconstruction.estimate import estimate_run, evaluations
from focvs.reconstruction.plan import make_plan
from runs import mean_prior, settings

MEAN = ["quality=default", "samples=0"]


@pytest.fixture
def planned(posed, thick_scan, tiny_prior, tmp_path):
    case, _ = posed
    mean_prior(tmp_path / "mean")

    def make(*words, mean=False):
        prior = tmp_path / "mean" if mean else tiny_prior
        config = settings(thick_scan, None, prior, "thickness=5", *(MEAN if mean else []), *words)
        config.steps = None if mean else config.steps
        here = replace(case, prior=load_prior(prior))
        return here, make_plan(here, config), config

    return make


@pytest.mark.parametrize(
    ("words", "mean", "count"),
    [
        (["samples=3", "steps=5"], False, 15),
        (["samples=3", "steps=5", "planes=average"], False, 30),
        ([], True, 4),
        (["sampler.mirrors=4"], True, 16),
        (["planes=coronal"], True, 2),
        (["samples=3", "sampler.levels=5"], True, 19),
        (["samples=3", "sampler.levels=5", "planes=average"], True, 34),
    ],
)
def test_evaluations_are_counted(planned, words, mean, count):
    case, plan, config = planned(*words, mean=mean)
    assert evaluations(plan, config, case.prior) == count


def test_time_grows_with_evaluations_and_memory_with_samples(planned):
    few, many = (estimate_run(*planned(f"samples={k}"), 1e-6) for k in (2, 8))
    assert many.seconds == pytest.approx(4 * few.seconds)
    assert many.memory_mib > few.memory_mib


def test_too_little_memory_is_said(planned, monkeypatch):
    found = estimate_run(*planned(), 1e-5)
    monkeypatch.setattr(estimate, "usable_memory_mib", lambda: None)
    assert str(found).startswith("4 evaluations of the network, about ") and "more than" not in str(found)
    monkeypatch.setattr(estimate, "usable_memory_mib", lambda: 512.0)
    assert "more than the 0.5 GiB that are free" in str(found)
