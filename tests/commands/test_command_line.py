import logging

import pytest

from focvs.commands.command_line import read_line, require_command_or_path, require_key_words
from focvs.commands.overrides import UsageError

COMMANDS = ("restore", "evaluate", "sweep")


def test_options_are_told_from_words(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-odd.nii").touch()
    line = read_line(["-odd.nii", "-o", "out", "-m", "seed=0,1", "-q"])
    assert line.words == ["-odd.nii", "seed=0,1"] and line.output == "out"
    assert line.multirun and line.level == logging.WARNING and not line.help
    assert read_line(["--output=a b", "-v"]).output == "a b"
    assert read_line(["-v"]).level == logging.DEBUG and read_line(["x"]).level is None
    assert read_line(["--cfg=job"]).show and read_line(["-c", "job"]).show
    assert read_line(["help", "sweep"]).words == ["sweep"]


@pytest.mark.parametrize("word", ["a.nii.gz", "out/", "x=1", "head", "restoration1"])
def test_words_that_are_no_mistyped_command_pass(word):
    require_command_or_path(word, COMMANDS)


def test_a_folder_of_that_name_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="did you mean focvs sweep"):
        require_command_or_path("sweeps", COMMANDS)
    (tmp_path / "sweeps").mkdir()
    require_command_or_path("sweeps", COMMANDS)


def test_blanks_around_an_equals_sign():
    require_key_words(["a.nii", "thickness=4", "b=", "output_dir="], "config")
    with pytest.raises(UsageError, match="seed = 4: keys are written without blanks, seed=4"):
        require_key_words(["seed", "=", "4"], "config")
