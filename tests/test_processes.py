"""Processes beside this one: their cores, their GPUs, and how they end."""

import logging
import os
import signal
import sys
import time

import pytest
import torch

from focvs.hardware import usable_cores
from focvs.processes import devices_in_turn, end_processes, how_it_ended, share_of_cores, start_process


def tell(pipe, word):
    logging.getLogger("focvs").info("nothing of this is lost")
    pipe.send((word, torch.get_num_threads(), os.environ["OMP_NUM_THREADS"], os.getpid()))


def wait_or_leave(pipe, seconds):
    try:
        pipe.send("begun")
        time.sleep(seconds)
    finally:
        pipe.send("left cleanly")


def test_a_process_has_its_threads_and_says_what_it_found():
    before = os.environ.get("OMP_NUM_THREADS")
    process, pipe = start_process(tell, "word", number=3, threads=1)
    word, threads, variable, number = pipe.recv()
    assert (word, threads, variable) == ("word", 1, "1") and number == process.pid != os.getpid()
    assert os.environ.get("OMP_NUM_THREADS") == before and process.name == "focvs-3"
    end_processes([process])
    assert not process.is_alive() and how_it_ended(process) == "ended with 0"


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_one_that_is_told_to_leave_leaves_cleanly_and_one_that_is_killed_does_not():
    process, pipe = start_process(wait_or_leave, 60, number=0, threads=1)
    assert pipe.recv() == "begun"
    process.terminate()
    end_processes([process])
    assert pipe.recv() == "left cleanly" and how_it_ended(process) == "ended with 1"
    process, pipe = start_process(wait_or_leave, 60, number=0, threads=1)
    assert pipe.recv() == "begun"
    os.kill(process.pid, signal.SIGKILL)
    end_processes([process])
    assert how_it_ended(process) == "was killed by signal 9"


def test_cores_are_shared(monkeypatch):
    assert share_of_cores(1) == usable_cores() and share_of_cores(10_000) == 1


def test_gpus_are_taken_in_turn(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    assert devices_in_turn("cuda", 3) == ["cuda:0", "cuda:1", "cuda:0"]
    assert devices_in_turn("cuda:1", 2) == ["cuda:1", "cuda:1"] and devices_in_turn("cpu", 2) == ["cpu", "cpu"]
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    assert devices_in_turn("auto", 2) == ["auto", "auto"]
