"""Locks: held by one, said of whom, taken over once stale."""

import json
import os
import socket
import subprocess
import sys
import time

import pytest

from focvs import locks
from focvs.errors import InputError
from focvs.locks import STALE_SECONDS, locked, read_lock


@pytest.fixture
def path(tmp_path):
    return tmp_path / ".result.lock"


def write(path, age=0.0, **changes):
    facts = {"pid": os.getpid(), "host": socket.gethostname(), "started": locks._started(os.getpid()), "since": "noon"}
    path.write_text(json.dumps(facts | changes))
    os.utime(path, (time.time() - age,) * 2)


def test_a_second_run_is_refused_and_the_lock_goes_in_the_end(path):
    with locked(path, "scan_focvs in out", total=7):
        held = read_lock(path)
        assert held["pid"] == os.getpid() and held["total"] == 7
        said = rf"scan_focvs in out .*process {os.getpid()} on .*; wait for it"
        with pytest.raises(InputError, match=said), locked(path, "scan_focvs in out"):
            pass
        assert path.is_file()
    assert not path.exists() and read_lock(path) is None
    with pytest.raises(KeyError), locked(path, "it"):
        raise KeyError
    assert not path.exists()


def test_a_lock_whose_process_has_ended_is_taken_over(path):
    child = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    write(path, pid=int(child.stdout), started="1")
    assert read_lock(path) is None
    with locked(path, "it"):
        assert read_lock(path)["pid"] == os.getpid()


def test_a_number_that_another_process_has_now_is_stale(path):
    write(path, started="1")  # this process did not begin one tick after the machine was booted
    assert read_lock(path) is None


def test_of_another_machine_the_last_touch_decides(path):
    write(path, host="elsewhere", age=STALE_SECONDS / 2)
    with pytest.raises(InputError, match="on elsewhere"), locked(path, "it"):
        pass
    write(path, host="elsewhere", age=2 * STALE_SECONDS)
    with locked(path, "it"):
        pass


def test_a_lock_without_content_is_young_or_stale(path):
    path.write_text("")
    assert read_lock(path) is not None
    os.utime(path, (time.time() - STALE_SECONDS,) * 2)
    assert read_lock(path) is None


def test_it_is_touched_while_it_is_held(path, monkeypatch):
    monkeypatch.setattr(locks, "BEAT_SECONDS", 0.02)
    with locked(path, "it"):
        os.utime(path, (0, 0))
        until = time.monotonic() + 5
        while path.stat().st_mtime < 1 and time.monotonic() < until:
            time.sleep(0.01)
        assert path.stat().st_mtime > 1


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    with pytest.raises(InputError, match="choose another output folder"), locked(tmp_path / "none" / ".lock", "it"):
        pass
