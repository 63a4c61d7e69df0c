"""Every bad input gets one sentence and an exit code, leaves nothing behind, and is in the documents."""

import re
from pathlib import Path

import pytest

from bad_inputs import BAD_INPUTS, shortened
from focvs.cli import main

PAGE = Path(__file__).resolve().parents[1] / "docs" / "bad_inputs.md"


def plain(sentence):
    """A sentence without what other libraries say, in brackets, which changes with their versions."""
    return re.sub(r"\([^()]*\)", "()", sentence)


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_one_sentence_an_exit_code_and_nothing_lost(tmp_path, capsys, name):
    case = BAD_INPUTS[name]
    words = case.words(tmp_path)
    before = files(tmp_path)
    assert main(words) == case.code
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("focvs: ")]
    assert len(said) == 1 and re.search(case.said, said[0]), said
    assert files(tmp_path) == before  # no result, no part of one, the input as it was
    row = re.search(rf"^\| {re.escape(case.what)} \| {case.code} \| `(.*)` \|$", PAGE.read_text(), flags=re.M)
    assert row and plain(row[1]) == plain(shortened(said[0], tmp_path)), "run scripts/bad_inputs_page.py"


def test_the_page_has_no_other_rows():
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and "`" in line]
    assert len(rows) == len(BAD_INPUTS) >= 60
