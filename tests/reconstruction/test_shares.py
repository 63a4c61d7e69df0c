"""Samples drawn by several processes: those of one, and whatever becomes of a process, none is left."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from command_line import run
from focvs.errors import InputError
from focvs.priors.pretrained import load_prior
from focvs.reconstruction import shares
from focvs.reconstruction.restore import restore
from focvs.reconstruction.timing import Stopwatch
from runs import mean_prior, settings, volumetric_prior


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(
            ("quality=default", "samples=3", "sampler.levels=3", "steps=null"),
            id="around the mean",
            marks=pytest.mark.slow,
        ),
        pytest.param(("quality=samples", "samples=3"), id="of a diffusion prior"),
    ],
)
def test_processes_draw_what_one_draws(posed, thick_scan, tiny_prior, tmp_path, words):
    case, _ = posed
    folder = tiny_prior if "quality=samples" in words else tmp_path / "mean"
    if folder != tiny_prior:
        mean_prior(folder)
    case = replace(case, prior=load_prior(folder))
    config = settings(thick_scan, None, folder, "thickness=5", *words)
    clock = Stopwatch()
    before = torch.get_num_threads()
    alone = restore(case, config)
    several = restore(case, replace(config, devices=2), clock)
    assert torch.get_num_threads() == before and clock.seconds["network"] > 0
    assert np.array_equal(alone.mean, several.mean) and len(several.samples) == 3
    for one, other in zip(alone.samples, several.samples, strict=True):
        assert np.array_equal(one, other)
    assert not np.array_equal(several.samples[0], several.samples[2])
    assert not multiprocessing.active_children()


def test_cores_make_no_difference(posed, told):
    threads = torch.get_num_threads()
    try:
        found = []
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(told("samples=1", "sampler.levels=2"))
    finally:
        torch.set_num_threads(threads)
    one, two = found
    assert np.array_equal(one.mean, two.mean) and np.array_equal(one.samples[0], two.samples[0])
    assert np.array_equal(one.deviation, two.deviation)


@pytest.mark.slow
def test_a_3d_prior_draws_them_too(posed, thick_scan, tmp_path):
    case, _ = posed
    case = replace(case, prior=volumetric_prior(tmp_path / "prior"))
    config = settings(thick_scan, None, tmp_path / "prior", "thickness=5", "samples=2", "steps=1")
    alone, several = (restore(case, replace(config, devices=count)) for count in (1, 2))
    for one, other in zip(alone.samples, several.samples, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3 * case.scan.units.white)  # with other numbers of threads


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_a_process_that_is_killed_ends_the_run_in_a_sentence(posed, thick_scan, tiny_prior, monkeypatch):
    case, _ = posed
    case = replace(case, prior=load_prior(tiny_prior))
    config = settings(thick_scan, None, tiny_prior, "thickness=5", "samples=2", "steps=200", "devices=2")
    started, start = [], shares.start_process
    monkeypatch.setattr(shares, "start_process", lambda *w, **k: started.append(start(*w, **k)) or started[-1])

    def kill():
        until = time.monotonic() + 60
        while not started and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(1.0)
        os.kill(started[0][0].pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    with pytest.raises(InputError, match=r"was killed by signal 9; memory may have run out: give fewer devices="):
        restore(case, config)
    killer.join()
    assert started and not any(process.is_alive() for process, _ in started)


@pytest.mark.slow
def test_what_a_process_raises_is_raised(posed, thick_scan, tiny_prior, monkeypatch):
    case, _ = posed
    case = replace(case, prior=load_prior(tiny_prior))
    config = settings(thick_scan, None, tiny_prior, "thickness=5", "devices=2")
    monkeypatch.setattr(shares, "devices_in_turn", lambda device, count: ["nowhere"] * count)
    with pytest.raises(RuntimeError, match="nowhere"):
        restore(case, config)
    assert not multiprocessing.active_children()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["devices=0"], "devices=0 must be at least 1"),
        (["devices=2"], "devices=2 draw samples between them; give samples="),
        (["devices=2", "method=spline", "samples=2"], "devices=2 draw samples between them"),
        (["devices=2", "samples=2", "compile=true"], "devices=2 cannot go with compile=true"),
    ],
)
def test_what_cannot_be_is_refused(thick_scan, tmp_path, capsys, words, said):
    code, _, err = run(capsys, thick_scan, tmp_path / "out", *words)
    assert code == 1 and said in err and not (tmp_path / "out").exists()
