"""focvs doctor says what works, and what mends the rest."""

import importlib

import pytest

from focvs.cli import main
from focvs.commands import doctor


def test_a_sound_installation(capsys):
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for words in ("focvs ", "torch ", "cores", "weights mean2d", "precision on the processor", "works."):
        assert words in said
    assert "broken" not in said


def test_an_extra_that_is_missing_is_named_with_its_command(monkeypatch, capsys):
    real = importlib.import_module

    def without(name, *more):
        if name == "SimpleITK":
            raise ImportError(name)
        return real(name, *more)

    monkeypatch.setattr(doctor.importlib, "import_module", without)
    monkeypatch.setattr(doctor, "_weights", lambda: iter(()))
    assert main(["doctor"]) == 0
    assert "pip install 'focvs[formats]'" in capsys.readouterr().out


def test_broken_weights_are_no_restoration(monkeypatch, tmp_path, capsys):
    (tmp_path / "mean2d").mkdir()
    monkeypatch.setattr(doctor, "checkpoints_dir", lambda: tmp_path)
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "broken  weights mean2d" in said and "cannot work like this" in said


def test_too_little_memory_is_said(monkeypatch):
    monkeypatch.setattr(doctor, "usable_memory_mib", lambda: 800.0)
    (memory,) = (finding for finding in doctor.findings() if finding.name == "memory")
    assert memory.status == "broken" and "0.8 GiB" in memory.detail and memory.cure


@pytest.mark.parametrize("words", [["doctor", "who"]])
def test_it_takes_no_words(words, capsys):
    assert main(words) == 2
    assert "takes no words" in capsys.readouterr().err
