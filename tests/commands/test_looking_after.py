import pytest

from focvs.cli import main
from focvs.commands.looking_after import UNCONFIGURED


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["doctor", "who"], "takes no words"),
        (["collect"], "takes the folder of the results"),
        (["status", "a", "b"], "takes the folder of the results"),
        (["reproduce", "a.json", "seed=1"], "takes the JSON of a result"),
    ],
)
def test_words_that_they_do_not_take(words, said, capsys):
    assert main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", UNCONFIGURED)
def test_a_file_of_that_name_is_a_scan(name, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("no image")
    assert main([name, "out"]) == 1
    assert name in capsys.readouterr().err
