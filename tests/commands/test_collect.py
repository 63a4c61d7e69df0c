"""One page and one table of many results, whatever is among them."""

import csv
import re

import numpy as np
import pytest

from command_line import quick
from focvs.cli import main
from scans import write_scan, write_thick_scan


@pytest.fixture
def results(tmp_path, phantom, tiny_prior):
    study, out = tmp_path / "study", tmp_path / "out"
    (study / "<b>sub").mkdir(parents=True)
    write_thick_scan(study / "a.nii.gz", phantom[1])
    write_thick_scan(study / "<b>sub" / "c.nii.gz", phantom[0])
    write_scan(study / "isotropic.nii.gz", (1000 * phantom[0]).astype(np.float32), np.diag([1.2, 1.2, 1.2, 1.0]))
    words = [word for word in quick(tiny_prior) if word not in ("figure=false", "report=false")]
    assert main([str(study), str(out), *words]) == 0
    (out / "other_focvs.json").write_text("{}")
    return out


def test_a_page_and_a_table(results, capsys):
    assert main(["collect", str(results)]) == 0
    page = (results / "focvs_cohort.html").read_text()
    assert "http:" not in page and "https:" not in page and page.count("data:image/jpeg;base64,") == 2
    assert 'href="a_focvs.html"' in page and 'href="%3Cb%3Esub/c_focvs.html"' in page
    assert "<b>sub" not in page and "&lt;b&gt;sub" in page
    assert "nothing says how thick" in page and "isotropic already" in page
    with (results / "focvs_cohort.tsv").open(newline="") as stream:
        rows = list(csv.DictReader(stream, delimiter="\t"))
    assert [row["scan"] for row in rows] == ["<b>sub/c", "a"] and {row["slices"] for row in rows} == {"12"}
    assert all(float(row["residual"]) < 1e-5 and float(row["seconds"]) > 0 for row in rows)
    assert len(re.findall(r"<tr class=\"warned\"", page)) == 2


def test_folders_without_results_are_refused(tmp_path, capsys):
    for words, code, said in (
        ([str(tmp_path)], 1, "holds no results"),
        ([str(tmp_path / "x")], 1, "is no folder"),
        ([], 2, "takes the folder"),
    ):
        assert main(["collect", *words]) == code
        assert said in capsys.readouterr().err
