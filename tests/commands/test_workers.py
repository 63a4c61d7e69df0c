"""Scans of a folder in several processes: the results of one, whatever becomes of a worker."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from command_line import quick
from focvs.cli import main
from focvs.commands import workers
from focvs.commands.cohort import NAME, read_table
from scans import write_thick_scan


@pytest.fixture
def study(tmp_path, phantom):
    folder = tmp_path / "study"
    folder.mkdir()
    for number, head in enumerate((phantom[1], phantom[0], phantom[1][::-1])):
        write_thick_scan(folder / f"s{number}.nii.gz", head)
    return folder


def rows_of(out):
    return {row["scan"]: row for row in read_table(out / f"{NAME}.csv")}


def test_two_give_what_one_gives(tmp_path, study, tiny_prior, capsys):
    (study / "broken.nii.gz").write_bytes(b"\x1f\x8bnothing")
    words = [*quick(tiny_prior), "thickness=5"]
    assert main([str(study), str(tmp_path / "one"), *words]) == 1
    capsys.readouterr()
    assert main([str(study), str(tmp_path / "two"), *words, "workers=2", "log=json"]) == 1
    said = {line["scan"]: line for line in map(json.loads, capsys.readouterr().out.splitlines())}
    assert said.keys() == rows_of(tmp_path / "two").keys() == rows_of(tmp_path / "one").keys()
    assert said["broken.nii.gz"]["status"] == "failed" and said["s0.nii.gz"]["relative_residual"] < 1e-5
    assert said["s0.nii.gz"]["peak_memory_mib"] > 50
    written = sorted(path.name for path in (tmp_path / "one").glob("*.nii.gz"))
    assert len(written) >= 3
    for name in written:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes(), name
    assert not list((tmp_path / "two").rglob(".*"))  # no lock, no part
    assert main([str(study), str(tmp_path / "two"), *words, "workers=2"]) == 1  # of workers it makes no difference
    assert {row["status"] for row in rows_of(tmp_path / "two").values()} == {"there", "failed"}


@pytest.mark.slow
def test_a_worker_that_is_killed_takes_its_scan_with_it_and_nothing_else(tmp_path, study, tiny_prior, monkeypatch):
    started, start = [], workers._start
    monkeypatch.setattr(workers, "_start", lambda *words: started.append(start(*words)) or started[-1])

    def kill():
        until = time.monotonic() + 60
        while not (started and started[0].job is not None) and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(started[0].process.pid, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    assert main([str(study), str(tmp_path / "out"), *quick(tiny_prior), "thickness=5", "workers=2"]) == 1
    killer.join()
    rows = rows_of(tmp_path / "out")
    failed = [row for row in rows.values() if row["status"] == "failed"]
    assert len(rows) == 3 and len(failed) == 1 and "killed by signal 9" in failed[0]["reason"]
    assert len(started) == 3 and not any(worker.process.is_alive() for worker in started)


def alive(group):
    """Processes of a group that are no zombies."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, own = status.read_text().rpartition(")")[2].split()[:3]
            found += [status.parent.name] if own == str(group) and state != "Z" else []
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked for in /proc")
@pytest.mark.parametrize(("ending", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_no_process_outlives_the_first(tmp_path, study, tiny_prior, ending, code):
    if ending != signal.SIGKILL and signal.getsignal(ending) is signal.SIG_IGN:
        pytest.skip(
            f"{ending.name} is ignored here, as in background jobs of a shell, and by what is started from here"
        )
    words = [str(study), str(tmp_path / "out"), *quick(tiny_prior), "thickness=5", "workers=2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "focvs.cli", *words], stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    for line in process.stderr:
        if "--- s" in line:  # a worker has begun
            break
    process.send_signal(ending)
    said = process.stderr.read()  # ends once nobody holds the stream any more, workers included
    assert process.wait(timeout=60) == code
    until = time.monotonic() + 20  # that helpers of multiprocessing need to notice
    while (left := alive(process.pid)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not left
    if ending != signal.SIGKILL:
        assert "no file was left half written" in said and "Traceback" not in said
        assert not list((tmp_path / "out").rglob(".*"))
    assert main(words) == 0  # and the next run goes on
    assert {row["status"] for row in rows_of(tmp_path / "out").values()} <= {"restored", "there"}
    assert not list((tmp_path / "out").rglob(".*"))


def test_fewer_than_one_are_refused(tmp_path, study, capsys):
    assert main([str(study), str(tmp_path / "out"), "workers=0"]) == 1
    assert "workers=0 must be at least 1" in capsys.readouterr().err and not (tmp_path / "out").exists()
