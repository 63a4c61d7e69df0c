"""focvs weights: listed, verified, added under a name that path= finds."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from focvs.cli import main
from focvs.priors.own_weights import VARIABLE
from focvs.priors.weights import WEIGHTS, sha256_of


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "weights"))
    return tmp_path / "weights"


def test_shipped_weights_are_listed_and_whole(place, capsys):
    assert main(["weights"]) == 0
    assert {"head2d", "mean2d", "unconditional2d"} <= set(capsys.readouterr().out.split())
    assert main(["weights", "verify", "head2d"]) == 0
    assert "works   head2d" in capsys.readouterr().out


def test_added_weights_are_found_by_name(place, tiny_prior, thick_scan, tmp_path, capsys):
    assert main(["weights", "add", "mine", str(tiny_prior)]) == 0
    assert sha256_of(place / "mine" / WEIGHTS) == sha256_of(tiny_prior / WEIGHTS)
    assert main(["weights", "verify", "mine"]) == 0 and main(["weights"]) == 0
    said = capsys.readouterr().out
    assert str(place / "mine") in said and "works   mine: prior " in said  # which loads
    words = ["quality=samples", "samples=1", "steps=1", "figure=false", "report=false", "thickness=5"]
    assert main([str(thick_scan), str(tmp_path / "out"), "path=mine", *words]) == 0
    assert main(["weights", "add", "mine", str(tiny_prior)]) == 1
    assert "is there already" in capsys.readouterr().err


def test_numbers_that_are_none_are_found(place, tiny_prior, tmp_path, capsys):
    folder = tmp_path / "bad"
    shutil.copytree(tiny_prior, folder)
    weights = load_file(folder / WEIGHTS)
    name = next(iter(weights))
    save_file({**weights, name: torch.full_like(weights[name], torch.nan)}, folder / WEIGHTS)
    assert main(["weights", "verify", str(folder)]) == 1
    assert f"{name} has numbers that are not finite" in capsys.readouterr().out
    assert main(["weights", "verify", str(tmp_path / "nothing")]) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["remove", "mine"], 2, "focvs weights add NAME"),
        (["add", "mine"], 2, "focvs weights add NAME"),
        (["add", "../mine", "x"], 1, "is no name for weights"),
    ],
)
def test_other_words_are_refused(place, capsys, words, code, said):
    assert main(["weights", *words]) == code
    assert said in capsys.readouterr().err
