"""Exit codes, and the sentence that goes with each."""

import os
import signal
import sys

import pytest

from focvs.commands.endings import exit_code
from focvs.commands.overrides import UsageError
from focvs.errors import InputError


def raising(error):
    def work():
        raise error

    return work


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("no such word."), 2, "focvs-bids: no such word."),
        (InputError("the scan is flat."), 1, "focvs-bids: the scan is flat."),
        (MemoryError(), 1, "memory ran out"),
        (RuntimeError("CUDA out of memory. Tried to allocate"), 1, "memory ran out"),
        (KeyboardInterrupt(), 130, "interrupted; no file was left half written."),
    ],
)
def test_each_ends_in_a_sentence(capsys, error, code, said):
    assert exit_code(raising(error), "focvs-bids") == code
    assert said in capsys.readouterr().err


def test_what_is_no_ones_fault_is_not_hidden():
    with pytest.raises(RuntimeError, match="a bug"):
        exit_code(raising(RuntimeError("a bug")))


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_sigterm_ends_it_and_is_not_caught_afterwards(capsys):
    def work():
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("it went on")

    assert exit_code(work) == 143 and exit_code(lambda: 5) == 5
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    assert "ended by SIGTERM" in capsys.readouterr().err
