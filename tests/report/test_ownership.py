import json

import numpy as np
import pytest

from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.report.ownership import require_own
from focvs.scan.scan import read_scan
from runs import settings
from scans import write_scan


def test_results_of_another_scan_are_kept_and_those_of_the_same_are_not(tmp_path, thick_scan, tiny_prior):
    words = ["method=linear", "thickness=5"]
    paths = super_resolve(settings(thick_scan, tmp_path / "out", tiny_prior, *words))
    super_resolve(settings(thick_scan, tmp_path / "out", tiny_prior, *words, "slice_gains=off"))
    scan, before = read_scan(thick_scan), paths["mean"].read_bytes()
    (tmp_path / "other").mkdir()
    other = write_scan(tmp_path / "other" / "scan.nii.gz", scan.data * np.float32(1.1), scan.affine)
    with pytest.raises(InputError, match="results of another scan of that name"):
        super_resolve(settings(other, tmp_path / "out", tiny_prior, *words))
    assert paths["mean"].read_bytes() == before
    super_resolve(settings(other, tmp_path / "out", tiny_prior, *words, "overwrite=true"))
    assert paths["mean"].read_bytes() != before
    assert json.loads(paths["json"].read_text())["scan_sha256"] == read_scan(other).sha256


@pytest.mark.parametrize("content", ["{broken", "[1]", "{}", '{"config": {"scan": "a"}}'])
def test_other_files_of_that_name_say_nothing(tmp_path, thick_scan, content):
    (tmp_path / "scan_focvs.json").write_text(content)
    require_own(read_scan(thick_scan), "focvs", tmp_path, False)
