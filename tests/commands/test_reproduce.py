"""The recorded run once more: the same voxels, and what is said where they are not."""

import json
import re

import nibabel as nib
import numpy as np
import pytest

from command_line import quick
from focvs.cli import main
from focvs.scan.nifti import voxels_sha256
from scans import write_thick_scan


@pytest.fixture
def result(tmp_path, thick_scan, tiny_prior):
    assert main([str(thick_scan), str(tmp_path / "out"), *quick(tiny_prior), "thickness=5", "samples=2"]) == 0
    return tmp_path / "out" / "scan_focvs.json"


def recorded(result, **changes):
    content = json.loads(result.read_text()) | changes
    result.write_text(json.dumps(content))


def test_the_same_voxels_and_their_hashes(result, caplog):
    content = json.loads(result.read_text())
    assert content["voxels_sha256"].keys() == {"mean", "std", "nullstd", "q05", "q95"}
    assert voxels_sha256(result.with_name("scan_focvs.nii.gz")) == content["voxels_sha256"]["mean"]
    assert main(["reproduce", str(result)]) == 0
    assert caplog.text.count("the same to the bit") == 5 and "not the one" not in caplog.text


def test_whole_numbers_are_reproduced_as_they_are_stored(tmp_path, thick_scan, caplog):
    assert main([str(thick_scan), str(tmp_path / "out"), "method=linear", "dtype=int16", "thickness=5"]) == 0
    assert main(["reproduce", str(tmp_path / "out" / "scan_linear.json")]) == 0
    assert "mean       the same to the bit" in caplog.text


def test_a_scan_elsewhere_is_found_and_another_one_refused(result, tmp_path, thick_scan, phantom, capsys, caplog):
    moved = thick_scan.rename(tmp_path / "elsewhere.nii.gz")
    assert main(["reproduce", str(result)]) == 1
    assert "is not there; give scan=" in capsys.readouterr().err
    assert main(["reproduce", str(result), f"scan={moved}"]) == 0
    other = write_thick_scan(tmp_path / "other.nii.gz", phantom[0][::-1])
    assert main(["reproduce", str(result), f"scan={other}"]) == 1
    assert "is not the scan of scan_focvs.json" in capsys.readouterr().err


def test_a_mean_that_differs_is_measured(result, caplog):
    image = nib.load(result.with_name("scan_focvs.nii.gz"))
    for change, code in ((1e-4, 0), (0.2, 1)):
        caplog.clear()
        data = np.asarray(image.dataobj, dtype=np.float32)
        white = np.percentile(data[data > 0.05 * data.max()], 99.5)
        nib.save(nib.Nifti1Image(data + np.float32(change * white), image.affine), result.with_name("changed.nii.gz"))
        result.with_name("changed.nii.gz").replace(result.with_name("scan_focvs.nii.gz"))
        digest = voxels_sha256(result.with_name("scan_focvs.nii.gz"))
        recorded(result, voxels_sha256={"mean": digest})
        assert main(["reproduce", str(result)]) == code
        found = float(re.search(r"differs by at most ([\d.e-]+)", caplog.text)[1])
        assert "mean       differs" in caplog.text and found == pytest.approx(change, rel=0.25)


def test_other_files_versions_and_weights_are_said(result, caplog):
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.float32), np.eye(4)), result.with_name("scan_focvs.nii.gz"))
    prior = json.loads(result.read_text())["prior"] | {"sha256": "0" * 64}
    recorded(result, version="0.0.1", prior=prior)
    assert main(["reproduce", str(result)]) == 0
    for said in ("is not the one that was written then", "was made by focvs 0.0.1", "weights of prior="):
        assert said in caplog.text


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"voxels_sha256": {}}, "recorded no hashes"),
        ({"config": {"scan": "x", "colour": "red"}}, "not those of this version"),
        (None, "is no JSON of a result"),
    ],
)
def test_what_cannot_be_reproduced_is_one_sentence(result, capsys, change, said):
    if change is None:
        result.write_text("[]")
    else:
        recorded(result, **change)
    capsys.readouterr()
    assert main(["reproduce", str(result)]) == 1
    err = capsys.readouterr().err
    assert said in err and len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("words", [["reproduce"], ["reproduce", "a.json", "seed=1"], ["reproduce", "a.json", "b.json"]])
def test_words_that_it_does_not_take(words, capsys):
    assert main(words) == 2
    assert "takes the JSON of a result" in capsys.readouterr().err
