import json

import pytest
from omegaconf import OmegaConf

from focvs.commands.overrides import compose, quote
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.priors.diffusion_network import DiffusionUNet2D
from focvs.priors.own import save_prior
from focvs.priors.weights import WEIGHTS, sha256_of
from runs import mean_prior


def run(scan, out, prior, *words):
    fixed = [f"scan={quote(str(scan))}", f"output_dir={quote(str(out))}", f"prior.path={quote(str(prior))}"]
    fixed += [
        "quality=samples",
        "precision=float32",
        "samples=1",
        "steps=1",
        "figure=false",
        "report=false",
        "progress=false",
        "thickness=5",
        "adapt=true",
    ]
    fixed += [f"adaptation.cache={quote(str(out.parent / 'kept'))}", "adaptation.steps=3", "adaptation.patch=32"]
    return super_resolve(OmegaConf.to_object(compose("config", [*fixed, *words])))


@pytest.mark.parametrize("conditioned", [False, True])
def test_an_adapted_prior_is_made_once_and_the_shipped_one_never_written(
    tmp_path, thick_scan, tiny_prior, tiny_conditioned_prior, conditioned, caplog
):
    prior = tiny_conditioned_prior if conditioned else tiny_prior
    before = (prior / WEIGHTS).read_bytes()
    first = run(thick_scan, tmp_path / "1", prior)
    caplog.set_level("INFO")
    second = run(thick_scan, tmp_path / "2", prior)
    assert "adapted prior from" in caplog.text
    assert (prior / WEIGHTS).read_bytes() == before
    assert len(list((tmp_path / "kept").iterdir())) == 1
    assert first["mean"].read_bytes() == second["mean"].read_bytes()
    report = json.loads(first["json"].read_text())
    assert report["prior"]["adapted"]
    assert report["prior"]["sha256"] == sha256_of(prior / WEIGHTS)
    assert report["consistency"]["relative_residual"] <= 1e-5
    assert report["seconds"]["adaptation"] > 0
    told = run(thick_scan, tmp_path / "4", prior, "consistency.calibration=table")  # its table is of other weights
    assert told["mean"].read_bytes() == first["mean"].read_bytes()
    run(thick_scan, tmp_path / "3", prior, "adaptation.seed=1")
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_of_a_mean_the_first_stage_is_adapted(tmp_path, thick_scan, caplog):
    mean_prior(tmp_path / "mean")
    words = "quality=default", "samples=0", "steps=null", "adaptation.learning_rate=0.01"
    before = (tmp_path / "mean" / WEIGHTS).read_bytes()
    plain = run(thick_scan, tmp_path / "0", tmp_path / "mean", *words, "adapt=false")
    first = run(thick_scan, tmp_path / "1", tmp_path / "mean", *words)
    caplog.set_level("INFO")
    second = run(thick_scan, tmp_path / "2", tmp_path / "mean", *words)
    assert "adapted prior from" in caplog.text and (tmp_path / "mean" / WEIGHTS).read_bytes() == before
    assert first["mean"].read_bytes() == second["mean"].read_bytes() != plain["mean"].read_bytes()
    report = json.loads(first["json"].read_text())
    assert report["prior"]["adapted"] and report["evaluations"] == 4
    assert report["consistency"]["relative_residual"] <= 1e-5 and report["seconds"]["adaptation"] > 0
    assert report["config"]["adaptation"]["steps"] == 3  # as asked for; the preset has its own
    assert not report["interval"]["calibrated"]


def test_a_prior_that_sees_no_scan_is_adapted_too(tmp_path, thick_scan):
    save_prior(DiffusionUNet2D(channels=(8, 12), blocks=(1, 1)), tmp_path / "prior")
    plain = run(thick_scan, tmp_path / "0", tmp_path / "prior", "adapt=false")
    first = run(thick_scan, tmp_path / "1", tmp_path / "prior", "adaptation.learning_rate=0.01")
    report = json.loads(first["json"].read_text())
    assert report["prior"]["adapted"] and report["consistency"]["relative_residual"] <= 1e-5
    assert plain["mean"].read_bytes() != first["mean"].read_bytes()


def test_a_broken_cache_is_made_again(tmp_path, thick_scan, tiny_prior):
    first = run(thick_scan, tmp_path / "1", tiny_prior)
    kept = next((tmp_path / "kept").iterdir())
    (kept / WEIGHTS).write_bytes(b"cut")
    second = run(thick_scan, tmp_path / "2", tiny_prior)
    assert first["mean"].read_bytes() == second["mean"].read_bytes()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("adaptation.steps=0", "at least 1"),
        ("adaptation.learning_rate=0", "above 0"),
        ("adaptation.method=half", "choose one of full"),
        ("adaptation.patch=4", "at least 16"),
    ],
)
def test_impossible_plans_are_refused(tmp_path, thick_scan, tiny_prior, word, message):
    with pytest.raises(InputError, match=message):
        run(thick_scan, tmp_path / "out", tiny_prior, word)
