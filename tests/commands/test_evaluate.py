import csv

import pytest

from evaluations import evaluate
from focvs.commands.evaluate import write_rows
from focvs.errors import InputError


def test_the_output_is_tried_before_the_work(tmp_path, truth):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="file/out cannot be written"):
        evaluate(truth, tmp_path / "none.nii.gz", f"output={tmp_path}/file/out")
    with pytest.raises(InputError, match="is a folder"):
        evaluate(truth, tmp_path)


def test_parts_of_a_row_are_columns(tmp_path):
    rows = [{"estimate": "a", "interval": {"held": 0.9}}, {"estimate": "b", "lesions": {"above 1 ml": {"erased": 0.1}}}]
    write_rows(tmp_path, rows, {})
    with (tmp_path / "evaluation.csv").open() as stream:
        first, second = csv.DictReader(stream)
    assert (first["interval.held"], first["lesions.above 1 ml.erased"]) == ("0.9", "")
    assert (second["interval.held"], second["lesions.above 1 ml.erased"]) == ("", "0.1")
