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
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.acquisition.tissue_head import tissue_head
from focvs.cli import main as restore
from focvs.commands.bids import Scan, _parser, describe_dataset, guide_of, main
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


def test_what_is_there_is_not_restored_again(tmp_path, dataset):
    out = tmp_path / "out"
    words = [str(dataset), str(out), "participant", *QUICK, "--option=report=false"]
    assert main(words) == 0
    results = sorted(out.rglob("*desc-focvs_*.nii.gz"))
    times = [path.stat().st_mtime_ns for path in results]
    shutil.copy(dataset / "sub-02/ses-a/anat/sub-02_ses-a_T2w.nii.gz", tmp_path / "kept.nii.gz")
    image = nib.load(tmp_path / "kept.nii.gz")
    write_scan(dataset / "sub-02/ses-a/anat/sub-02_ses-a_T2w.nii.gz", image.get_fdata() + 1, image.affine)
    results[0].unlink()
    assert main(words) == 0
    assert (out / "logs" / "focvs.csv").read_text().count(",there,") == 2
    assert [path.stat().st_mtime_ns != then for path, then in zip(results, times, strict=True)] == [
        "acq-thick" in path.name or "ses-a" in path.name for path in results
    ]
    assert main([*words, "--option=dtype=int16"]) == 0
    assert ",there," not in (out / "logs" / "focvs.csv").read_text()


def test_the_image_beside_a_scan_is_its_guide(tmp_path, caplog):
    anat, shape, voxel = tmp_path / "bids" / "sub-01" / "anat", (76, 92, 60), 2.4
    anat.mkdir(parents=True)
    slices = simulate_slices(
        1000 * tissue_head("FLAIR", 0, shape, voxel, texture_seed=2)[1], voxel, gaussian_profile(7.2), 7.2
    )
    write_scan(anat / "sub-01_FLAIR.nii.gz", slices, np.diag([voxel, voxel, 7.2, 1]))
    thin = np.diag([voxel, voxel, voxel, 1])
    thin[2, 3] = -1.5 * voxel  # the first slice's own place
    write_scan(anat / "sub-01_T1w.nii.gz", 500 * tissue_head("T1w", 0, shape, voxel, texture_seed=1)[1], thin)
    words = [str(tmp_path / "bids"), str(tmp_path / "out"), "participant", "--guide", "T1w", "--option=figure=false"]
    words += ["--option=report=false", "--option=method=guided_filter", "--option=align=headers"]
    (tmp_path / "filter.json").write_text('{"suffix": "FLAIR"}')
    words += ["--bids-filter-file", str(tmp_path / "filter.json")]
    assert main(words) == 0
    said = json.loads((tmp_path / "out/sub-01/anat/sub-01_res-iso_desc-focvs_FLAIR.json").read_text())
    assert said["Sources"] == ["bids:raw:sub-01/anat/sub-01_FLAIR.nii.gz", "bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]
    assert f"guide={anat / 'sub-01_T1w.nii.gz'}" in " ".join(said["Settings"]).replace("'", "")
    scan = Scan(anat / "sub-01_FLAIR.nii.gz", {}, "FLAIR")
    assert guide_of(scan, "T2w") is None and guide_of(scan, "FLAIR") is None
    shutil.copy(anat / "sub-01_T1w.nii.gz", anat / "sub-01_acq-b_T1w.nii.gz")
    assert main(words) == 1
    assert "has 2 guides (sub-01_T1w.nii.gz, sub-01_acq-b_T1w.nii.gz)" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGTERM")
def test_sigterm_leaves_nothing_half_written_and_the_same_command_goes_on(tmp_path, dataset):
    out = tmp_path / "out"
    words = [str(dataset), str(out), "participant", *QUICK, "--option=report=false"]
    program = [sys.executable, "-c", "from focvs.commands.bids import entry; entry()"]
    process = subprocess.Popen([*program, *words], stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "--- 3 of" in line:
            break
    process.terminate()
    said = process.stderr.read()
    assert process.wait(timeout=60) == 143 and "focvs-bids: ended by SIGTERM" in said and "Traceback" not in said
    assert not list(out.rglob(".*.part"))
    assert main(words) == 0
    assert (out / "logs" / "focvs.csv").read_text().count(",there,") >= 1


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
