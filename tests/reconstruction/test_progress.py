"""A bar in a terminal, lines in a log."""

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from focvs.reconstruction import progress
from focvs.reconstruction.progress import Progress, in_words


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def lines(caplog):
    return [record.getMessage() for record in caplog.records]


def test_a_log_gets_a_line_every_tenth_with_the_time_left(clock, caplog):
    caplog.set_level(logging.INFO)
    with Progress(40, "scan", terminal=False) as bar:
        for _ in range(40):
            clock[0] += 10
            bar.advance()
    assert lines(caplog)[:2] == ["scan: 10 %, about 6 minutes left", "scan: 20 %, about 5.3 minutes left"]
    assert len(lines(caplog)) == 9


SILENT = [({"terminal": False}, 0.1), ({"terminal": True}, 10), ({"shown": False}, 10)]


@pytest.mark.parametrize(("options", "step"), SILENT)
def test_short_runs_terminals_and_silence_get_none(clock, caplog, capsys, options, step):
    caplog.set_level(logging.INFO)
    with Progress(20, "scan", **options) as bar:
        for _ in range(20):
            clock[0] += step
            bar.advance()
    assert lines(caplog) == []
    assert ("scan" in capsys.readouterr().err) == (options.get("terminal") is True)


def test_fractions_from_many_threads_add_up(clock):
    with Progress(8, "scan", shown=False) as bar, ThreadPoolExecutor(4) as threads:
        list(threads.map(bar.advance, [0.125] * 64))
        assert bar.done == 8
        bar.advance(3)  # no more than all
        assert bar.done == 8


def test_times_are_words():
    assert [in_words(s) for s in (3.2, 89, 100, 600)] == ["3 s", "89 s", "1.7 minutes", "10 minutes"]
