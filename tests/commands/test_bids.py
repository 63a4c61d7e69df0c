"""The BIDS App: derivatives under the names of the standard, with their sidecars."""

import json

import nibabel as nib
import numpy as np
import pytest

from focvs.cli import main as restore
from focvs.commands.bids import main
from scans import write_scan, write_thick_scan

QUICK = ["--option=method=linear", "--option=figure=false"]


@pytest.fixture
def dataset(tmp_path, phantom):
    root = tmp_path / "bids"
    names = ("sub-01/anat/sub-01_T2w", "sub-01/anat/sub-01_acq-thick_FLAIR", "sub-02/ses-a/anat/sub-02_ses-a_T2w")
    for name in (
        *names,
        "sub-02/ses-b/anat/sub-02_ses-b_run-2_T2w",
        "sub-01/anat/sub-01_T1w",
        "sub-01/func/sub-01_bold",
    ):
        path = root / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_thick_scan(path, phantom[1])
    isotropic = (1000 * phantom[0]).astype(np.float32)
    write_scan(root / "sub-01" / "anat" / "sub-01_T1w.nii.gz", isotropic, np.diag([1.2, 1.2, 1.2, 1.0]))
    (root / "sub-01" / "anat" / "sub-01_T2w.json").write_text('{"SliceThickness": 5, "SkullStripped": true}')
    return root


def found(out, ending=".nii.gz"):
    return sorted(str(path.relative_to(out)) for path in out.rglob(f"*{ending}"))


def test_derivatives_have_the_names_of_the_standard(tmp_path, dataset):
    out = tmp_path / "out"
    assert main([str(dataset), str(out), "participant", *QUICK]) == 0
    assert found(out) == [
        "sub-01/anat/sub-01_acq-thick_res-iso_desc-focvs_FLAIR.nii.gz",
        "sub-01/anat/sub-01_res-iso_desc-focvs_T2w.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_res-iso_desc-focvs_T2w.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_run-2_res-iso_desc-focvs_T2w.nii.gz",
    ]
    assert [name for name in found(out, ".html") if "sub-01" in name] == [
        "sub-01_acq-thick_res-iso_desc-focvs_FLAIR.html",
        "sub-01_res-iso_desc-focvs_T2w.html",
    ]
    said = json.loads((out / "sub-01/anat/sub-01_res-iso_desc-focvs_T2w.json").read_text())
    assert said["Sources"] == ["bids:raw:sub-01/anat/sub-01_T2w.nii.gz"] and said["SkullStripped"] is True
    assert said["SliceThicknessOfSource"] == 5 and "mm" in said["Resolution"]["iso"]
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative" and description["GeneratedBy"][0]["Name"] == "focvs"
    assert description["DatasetLinks"]["raw"] == dataset.resolve().as_uri()
    rows = (out / "logs" / "focvs.csv").read_text()
    assert rows.count("restored") == 4 and "sub-01/anat/sub-01_T1w.nii.gz,skipped" in rows
    alone = tmp_path / "alone"
    restore(
        [str(dataset / "sub-01/anat/sub-01_T2w.nii.gz"), str(alone), "method=linear", "figure=false", "report=false"]
    )
    same = nib.load(out / "sub-01/anat/sub-01_res-iso_desc-focvs_T2w.nii.gz")
    np.testing.assert_array_equal(same.get_fdata(), nib.load(alone / "sub-01_T2w_linear.nii.gz").get_fdata())


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["--participant-label", "sub-02"], {"sub-02_ses-a", "sub-02_ses-b"}),
        (["--participant-label", "02", "--session-label", "ses-b"], {"sub-02_ses-b"}),
        (["--bids-filter-file", "filter.json"], {"sub-01_acq-thick"}),
    ],
)
def test_labels_and_filters_choose(tmp_path, dataset, monkeypatch, words, names):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "filter.json").write_text('{"suffix": "FLAIR", "acquisition": ["thick"]}')
    assert main([str(dataset), "out", "participant", *words, *QUICK, "--option=report=false"]) == 0
    stems = [name.rpartition("/")[2].partition("_res-")[0].partition("_run-")[0] for name in found(tmp_path / "out")]
    assert set(stems) == names


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--participant-label", "09"], "sub-09 is not in"),
        (["--session-label", "z"], "holds no scan that was asked for"),
        (["--bids-filter-file", "missing.json"], "is no JSON of entities"),
    ],
)
def test_what_is_wrong_is_one_sentence(tmp_path, dataset, capsys, words, said):
    assert main([str(dataset), str(tmp_path / "out"), "participant", *words]) == 1
    assert said in capsys.readouterr().err
    assert main([str(tmp_path), str(tmp_path / "out"), "participant"]) == 1
    assert "is no BIDS data set" in capsys.readouterr().err


def test_a_failure_ends_nothing(tmp_path, dataset):
    (dataset / "sub-01" / "anat" / "sub-01_T2w.nii.gz").write_bytes(b"\x1f\x8bnothing")
    out = tmp_path / "out"
    assert main([str(dataset), str(out), "participant", "--participant-label", "01", *QUICK]) == 1
    assert found(out) == ["sub-01/anat/sub-01_acq-thick_res-iso_desc-focvs_FLAIR.nii.gz"]
