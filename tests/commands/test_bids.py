"""The BIDS App: derivatives under the names of the standard, with their sidecars."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import boutiques
import nibabel as nib
import numpy as np
import pytest

from focvs import __version__
from focvs.cli import main as restore
from focvs.commands.bids import _parser, describe_dataset, main
from scans import write_scan, write_thick_scan

ROOT = Path(__file__).resolve().parents[2]
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


def test_the_standards_own_validator_finds_no_error(tmp_path, dataset):
    program = shutil.which("bids-validator-deno", path=str(Path(sys.executable).parent))
    if program is None:
        pytest.skip("bids-validator-deno is not installed")
    (dataset / "dataset_description.json").write_text('{"Name": "x", "BIDSVersion": "1.10.0", "Authors": ["a", "b"]}')
    out = tmp_path / "out"
    assert main([str(dataset), str(out), "participant", *QUICK, "--participant-label", "01"]) == 0
    said = subprocess.run([program, "--format", "json", str(out)], capture_output=True, text=True, timeout=120)
    issues = json.loads(said.stdout)["issues"]["issues"]
    assert issues == []
    broken = out / "sub-01" / "anat" / "sub-01_desc-focvs_res-iso_T2w.nii.gz"  # entities in the wrong order
    shutil.copy(next(out.rglob("*T2w.nii.gz")), broken)
    said = subprocess.run([program, "--format", "json", str(out)], capture_output=True, text=True, timeout=120)
    assert any(issue["severity"] == "error" for issue in json.loads(said.stdout)["issues"]["issues"])


def test_files_of_the_data_set_that_are_there_stay(tmp_path, dataset):
    (dataset / "dataset_description.json").write_text('{"Name": "x", "Authors": ["a"], "License": "CC0"}')
    out = tmp_path / "out"
    describe_dataset(out, dataset)
    said = json.loads((out / "dataset_description.json").read_text())
    assert (said["Authors"], said["License"]) == (["a"], "CC0")
    assert "*.html" in (out / ".bidsignore").read_text() and "not for diagnosis" in (out / "README").read_text()
    for name in ("README", ".bidsignore", "dataset_description.json"):
        (out / name).write_text("mine")
    describe_dataset(out, dataset)
    assert {(out / name).read_text() for name in ("README", ".bidsignore", "dataset_description.json")} == {"mine"}


def test_the_descriptor_is_that_of_the_program():
    descriptor = json.loads((ROOT / "boutiques.json").read_text())
    flags = {word["command-line-flag"] for word in descriptor["inputs"] if "command-line-flag" in word}
    options = {option for action in _parser()._actions for option in action.option_strings}
    assert flags <= options and {"--participant-label", "--session-label", "--bids-filter-file"} <= flags
    assert descriptor["tool-version"] == __version__
    boutiques.validate(str(ROOT / "boutiques.json"))
