"""Sweeps: every combination once, restartable, failures listed, one tidy table with right means and intervals."""

import csv
import json
import os

import numpy as np
import pytest

from focvs.cli import main
from focvs.commands import sweep, sweep_tables
from focvs.commands.overrides import UsageError, compose, run_overrides, to_schema, told_to_runs
from focvs.commands.sweep import crop_for_grid, run_job
from focvs.config import SweepConfig
from focvs.errors import InputError
from focvs.scan.nifti import read_nifti
from scans import write_scan


@pytest.fixture
def head(tmp_path, phantom):
    return write_scan(tmp_path / "head.nii.gz", (1000 * phantom[1]).astype(np.float32), np.diag([1.2, 1.2, 1.2, 1]))


def read(path):
    with path.open() as stream:
        return list(csv.DictReader(stream))


@pytest.mark.slow
def test_a_sweep_makes_one_tidy_table(tmp_path, head, tiny_prior, capsys, monkeypatch):
    out = tmp_path / "out"
    words = ["sweep", str(head), str(out), "thickness=6", "seed=0,1", "method=spline,focvs", "figure=false"]
    words += ["steps=1", "quality=samples", "samples=1", f"path={tiny_prior}"]
    assert main(words) == 0
    rows = read(out / "results.csv")
    assert len(rows) == 4 and len({(r["method"], r["seed"]) for r in rows}) == 4
    assert {r["steps"] for r in rows} == {"1"} and {r["prior.path"] for r in rows} == {str(tiny_prior)}
    assert all(float(r["residual"]) <= 1e-5 for r in rows if r["method"] == "focvs")
    summary = read(out / "summary.csv")
    assert len(summary) == 2 and {r["repeats"] for r in summary} == {"2"}
    some = [float(r["psnr_db"]) for r in rows if r["method"] == "spline"]
    mean = next(float(r["psnr_db"]) for r in summary if r["method"] == "spline")
    assert mean == pytest.approx(np.mean(some))
    assert (out / "curves.png").stat().st_size > 1000 and (out / "images.png").stat().st_size > 1000
    assert "psnr_db" in capsys.readouterr().out

    # again, with one value more: what is done is left alone
    began = {p: p.read_text() for p in out.glob("*/job.json")}
    done = []
    restore = sweep.super_resolve
    monkeypatch.setattr(sweep, "super_resolve", lambda run: done.append(run.method) or restore(run))
    words[4:6] = ["seed=0,2", "method=spline"]
    assert main(words) == 0
    assert done == ["spline"]
    assert all(p.read_text() == then for p, then in began.items())
    assert len(read(out / "results.csv")) == 5
    # other settings are other jobs
    assert main([*words[:4], "seed=0", *words[5:], "scan_noise=0.02"]) == 0
    assert done == ["spline", "spline"]
    assert {r["scan_noise"] for r in read(out / "summary.csv")} == {"0.01", "0.02"}
    # a volume written again is another volume, and its jobs take the place of those of the old one
    os.utime(head, ns=(1, 1))
    words[4] = "seed=0"
    assert main(words) == 0
    assert done == ["spline"] * 3
    assert len(read(out / "results.csv")) == 6
    # how a job is run and watched makes no other job
    assert main([*words, "progress=false", "device=cpu"]) == 0
    assert done == ["spline"] * 3


@pytest.mark.parametrize(("run", "prior"), [({}, "mean2d"), ({"quality": "samples"}, "head2d")])
def test_a_job_is_told_apart_by_the_weights_it_uses(tmp_path, head, run, prior):
    settings = sweep.job_settings(SweepConfig(volume=str(head), output_dir=str(tmp_path), run=run))
    files = [path for path in settings["files"] if path.endswith(".safetensors")]
    assert files and all(f"/{prior}/" in path for path in files)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launcher", "more"),
    [("submitit_local", ["hydra.launcher.timeout_min=9"])],
)
def test_launchers_run_the_jobs_in_processes_of_their_own(tmp_path, head, launcher, more):
    pytest.importorskip(f"hydra_plugins.hydra_{launcher.removesuffix('_local')}_launcher")
    words = ["sweep", str(head), str(tmp_path / "out"), "thickness=6,8", "method=linear", "figure=false"]
    assert main([*words, f"hydra/launcher={launcher}", *more]) == 0
    assert {r["thickness_mm"] for r in read(tmp_path / "out" / "results.csv")} == {"6.0", "8.0"}


@pytest.mark.slow
def test_a_failed_job_is_listed_and_the_others_go_on(tmp_path, head, caplog):
    words = ["sweep", str(head), str(tmp_path / "out"), "thickness=6,200", "method=linear", "figure=false"]
    assert main(words) == 1
    assert "failed: head_linear_200mm_gap0_seed0" in caplog.text and "do not fit" in caplog.text
    assert len(read(tmp_path / "out" / "results.csv")) == 1
    assert main(["sweep", str(head), str(tmp_path / "none"), "thickness=200", "method=linear"]) == 1


def test_wrong_sweeps_are_refused_before_the_first_job(tmp_path, head, capsys):
    for wrong, sentence in (
        ("wibble=3", "wibble"),
        ("thickness=abc", "give a number"),
        ("steps=1,two", "give a whole number"),
        ("sampler=wibble", "choose one of"),
    ):
        assert main(["sweep", str(head), str(tmp_path / "out"), "method=linear", wrong]) == 2
        assert sentence in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_jobs_that_cannot_be_are_refused_before_the_first(tmp_path, head, capsys):
    for wrong, sentence in (
        ("method=linear,wibble", "method=wibble is not known"),
        ("axis=up", "axis=up is not known"),
        ("trim=-1", "must be at least 0"),
    ):
        assert main(["sweep", str(head), str(tmp_path / "out"), wrong]) == 1
        assert sentence in capsys.readouterr().err
    assert (
        main(["sweep", f"volume={head},{tmp_path / 'none.nii'}", str(tmp_path / "out"), "method=linear,nearest"]) == 1
    )
    assert "none.nii does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["sweep", str(head), "out", "method=linear,nearest", "--cfg", "job"]) == 0
    assert "method: linear" in capsys.readouterr().out


def test_keys_of_the_restoration_are_told_to_it():
    words = ["thickness=3,4", "steps=2,4", "sampler.temperature=0", "profile=rect", "adapt=true"]
    told = told_to_runs(words)
    for word in ("noise=0.02", "+noise=auto"):
        with pytest.raises(UsageError, match="scan_noise="):
            told_to_runs([word])
    assert told_to_runs(["+run.noise=3"]) == ["+run.noise=3"]
    assert told_to_runs(["sampler=ddim,ddpm", "sampler.eta=1"]) == [
        "+run.sampler.choice=ddim,ddpm",
        "+run.sampler.eta=1",
    ]
    for order in (["sampler.eta=1", "sampler=ddim"], ["sampler=ddim", "sampler.eta=1"]):
        config = to_schema(compose("sweep", ["volume=a", "output_dir=b", *told_to_runs(order)]))
        run = compose("config", run_overrides(config.run))
        assert (run.sampler.name, run.sampler.eta) == ("ddim", 1.0)
    with pytest.raises(UsageError, match="decided by the sweep"):
        told_to_runs(["spacing=6"])
    assert told == ["thickness=3,4", "+run.steps=2,4", "+run.sampler.temperature=0", "profile=rect", "+run.adapt=true"]
    config = to_schema(compose("sweep", ["volume=a", "output_dir=b", "+run.sampler.temperature=0", "+run.adapt=true"]))
    assert run_overrides(config.run) == ["sampler.temperature=0", "adapt=true"]


def test_the_truth_shares_its_grid_with_what_is_restored(tmp_path, head):
    words = [f"volume={head}", f"output_dir={tmp_path}", "thickness=5", "gap=1.3", "method=replaced"]
    run_job(to_schema(compose("sweep", words)))
    (folder,) = tmp_path.glob("head_replaced_5mm_gap1.3_seed0_*")
    job = json.loads((folder / "job.json").read_text())
    truth, estimate = (read_nifti(folder / name) for name in ("truth.nii.gz", "scan_replaced.nii.gz"))
    assert truth[0].shape == estimate[0].shape
    assert np.allclose(truth[1], estimate[1], atol=1e-3)
    assert job["scores"]["residual"] <= 1e-5
    assert job["settings"]["gap"] == 1.3


@pytest.mark.parametrize("spacing", [2.5, 4.0, 6.3])
def test_cropping_loses_little_and_keeps_the_middle_in_place(spacing):
    data = np.arange(97.0)[None, None].repeat(3, 0)
    affine = np.diag([1.0, 1.0, 0.9, 1.0])
    out, moved = crop_for_grid(data, affine, 2, spacing)
    assert out.shape[2] * 0.9 > 97 * 0.9 - 4 * spacing
    first = out[0, 0, 0]
    assert moved[2, 3] == pytest.approx(0.9 * first)
    with pytest.raises(InputError, match="do not fit"):
        crop_for_grid(data, affine, 2, 100.0)


def test_much_cropping_is_said(caplog):
    out, _ = crop_for_grid(np.zeros((3, 3, 97)), np.diag([1.0, 1.0, 0.9375, 1.0]), 2, 6.5)
    assert f"{out.shape[2]} of 97 voxels" in caplog.text


@pytest.mark.slow
def test_a_job_has_one_folder_however_it_is_asked_for(tmp_path, head, monkeypatch):
    def folder(*words):
        config = to_schema(compose("sweep", [f"output_dir={tmp_path}", *told_to_runs(words)]))
        return sweep.job_folder(sweep.job_settings(config), tmp_path)

    monkeypatch.chdir(tmp_path)
    wanted = folder(f"volume={head}", "figure=false", "batch=1")
    assert folder("volume=head.nii.gz", "batch=2") == wanted
    others = [["profile=slr"], ["profile=slr", "profile.time_bandwidth=8"], ["steps=3"], ["scan_noise=0"], ["trim=1"]]
    folders = [folder("volume=head.nii.gz", "batch=1", "figure=false", *words) for words in others]
    assert len({wanted, *folders}) == 6
    measured = tmp_path / "measured.npy"
    measured.write_bytes(b"old")
    sampled = ("volume=head.nii.gz", "profile=sampled", "profile.path=measured.npy")
    before = folder(*sampled)
    os.utime(measured, ns=(1, 1))
    assert folder(*sampled) != before
    weights = tmp_path / "pipeline" / "unet" / "weights.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"old")
    foreign = ("volume=head.nii.gz", "prior=diffusers", "prior.path=pipeline")
    before = folder(*foreign)
    assert folder(*foreign) == before
    (tmp_path / "pipeline" / "README.md").write_text("new")
    assert folder(*foreign) == before
    os.utime(weights, ns=(1, 1))
    assert folder(*foreign) != before
    names = {sweep_tables.profile_name({"kind": "slr", "time_bandwidth": width, "path": None}) for width in (4.0, 8.0)}
    assert names == {"slr 4", "slr 8"}


@pytest.mark.parametrize(("words", "expected"), [([], "auto"), (["slice_gains=off"], "off")])
def test_an_estimate_is_judged_by_the_passes_it_was_restored_with(tmp_path, head, monkeypatch, words, expected):
    judged, measure = [], sweep.measure_estimates
    monkeypatch.setattr(sweep, "measure_estimates", lambda config: judged.append(config) or measure(config))
    quick = ["thickness=6", "method=linear", "figure=false"]
    assert main(["sweep", str(head), str(tmp_path / "out"), *quick, *words]) == 0
    assert [config.slice_gains for config in judged] == [expected]


@pytest.mark.slow
def test_any_failure_is_written_down_and_forgotten_by_the_next_sweep(tmp_path, head, monkeypatch):
    def fail(run):
        raise TypeError("out of order")

    words = ["sweep", str(head), str(tmp_path / "out"), "thickness=6", "method=linear", "figure=false"]
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "super_resolve", fail)
        assert main(words) == 1
    (job,) = (tmp_path / "out").glob("*/job.json")
    assert json.loads(job.read_text())["reason"] == "TypeError: out of order"
    assert main(words) == 0
    next(job.parent.glob("*_linear.nii.gz")).unlink()
    assert main(words) == 0  # the picture is left out


def test_an_output_folder_that_cannot_be_is_refused(tmp_path, head, capsys):
    (tmp_path / "file").touch()
    assert main(["sweep", str(head), str(tmp_path / "file"), "thickness=6", "method=linear"]) == 1
    assert "cannot be written" in capsys.readouterr().err
