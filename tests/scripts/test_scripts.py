"""What scripts share: results that are kept, other programs that are run, headers that are judged."""

import argparse
import csv
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from focvs.acquisition.grid import make_grid
from scans import write_scan


@pytest.fixture(scope="module")
def quality(import_script):
    return import_script("benchmark_quality")


@pytest.fixture(scope="module")
def peers(import_script):
    return import_script("compare_peers")


def test_results_are_found_again_and_only_by_all_they_depend_on(quality, tmp_path):
    case = {"truth": "a", "slices": "4:4", "noise": 0.01, "box": 32, "seed": 0, "method": "FOCVS"}
    case |= {"overrides": "samples=2", "prior": "12345678"}
    written = quality.Results(tmp_path / "rows.csv").add(case, 21.5, 0.75, 60.04)
    again = quality.Results(tmp_path / "rows.csv")
    assert again.find(case) == written and written["psnr_db"] == "21.5000"
    for key, other in {"seed": 1, "noise": 0.0, "prior": "87654321", "overrides": "", "box": 0}.items():
        assert again.find(case | {key: other}) is None, key
    meanwhile = quality.Results(tmp_path / "rows.csv")
    again.add(case | {"seed": 1}, 20, 0.7, 1)
    assert meanwhile.add(case | {"seed": 1}, 20.1, 0.7, 1)["psnr_db"] == "20.0000"  # of another process
    assert len((tmp_path / "rows.csv").read_text().splitlines()) == 3


def test_downstream_rows_replace_those_of_their_case(import_script, tmp_path):
    downstream = import_script("benchmark_downstream")
    row = {
        "segmentations": {"tissues": {"labels": {"1": {"dice": 0.91234, "volume_error": -0.01}}}},
        "lesions": {"above 1 ml": {"lesions": 2.0, "contrast_kept": 0.9}},
    }
    assert downstream.tissue_rows(row) == [{"class": "1", "dice": 0.9123, "volume_error": -0.01}]
    assert downstream.lesion_rows(row) == [{"size": "above 1 ml", "lesions": 2.0, "contrast_kept": 0.9}]
    assert downstream.tissue_rows({"segmentations": {"tissues": None}}) == downstream.lesion_rows({}) == []
    case = dict.fromkeys(downstream.CASE, "a") | {"noise": 0.01}
    for method, prior, dice in (("one", "old", 0.5), ("two", "old", 0.6), ("one", "new", 0.7)):
        row = case | {"method": method, "prior": prior, "class": 1, "dice": dice}
        downstream.add(tmp_path / "tissues.csv", [row, row | {"class": 2}])
    lines = (tmp_path / "tissues.csv").read_text().splitlines()
    assert len(lines) == 5 and lines[2].endswith("two,old,2,0.6") and lines[4].endswith("one,new,2,0.7")


def test_masks_are_cropped_as_the_truth_is(import_script, tmp_path):
    downstream = import_script("benchmark_downstream")
    whole = np.zeros((20, 22, 24), np.uint8)
    whole[6:9, 7:11, 10:15] = 1
    placed, cut = np.diag([1.0, 1, 1.5, 1]), np.diag([1.0, 1, 1.5, 1])
    cut[:3, 3] = (5, 0, 3)
    mask = write_scan(tmp_path / "mask.nii.gz", whole, placed)
    truth = write_scan(tmp_path / "truth.nii.gz", np.ones((10, 22, 20), np.float32), cut)
    found = nib.load(downstream.on_voxels(mask, truth, tmp_path / "cut.nii.gz")).get_fdata()
    assert np.array_equal(found, whole[5:15, :, 2:22])


def test_a_restoration_is_judged_by_its_classes_and_lesions(import_script, tmp_path):
    downstream = import_script("benchmark_downstream")
    data = np.random.default_rng(0).normal(100, 2, (40, 44, 48)).astype(np.float32)
    data[:20] *= 2
    data[:, :3] = data[:, -3:] = 0
    data[26:32, 18:26, 20:28] = 300
    truth = write_scan(tmp_path / "truth.nii.gz", data, np.eye(4))
    lesion = write_scan(tmp_path / "lesion.nii.gz", (data > 280).astype(np.uint8), np.eye(4))
    options = argparse.Namespace(
        truth=truth, box=0, noise=0.0, tissues=2, brain=None, lesions=str(lesion), lesions_above=1.3, lesions_inside=9
    )
    (tmp_path / "out").mkdir()
    row = downstream.judge(options, "4:4", ["method=spline"], tmp_path / "out")
    assert [line["class"] for line in downstream.tissue_rows(row)] == ["1", "2"]
    assert min(line["dice"] for line in downstream.tissue_rows(row)) > 0.9
    (found,) = downstream.lesion_rows(row)
    assert found["size"] == "0.1 to 1 ml" and 0.5 < found["contrast_kept"] <= 1.01 and found["erased"] < 0.3


@pytest.mark.parametrize(("misfit", "shown"), [(1.234, "1.23"), (None, "-")])
def test_scans_are_listed_with_and_without_a_misfit(import_script, misfit, shown):
    report = {
        "acquisition": {"slices": 25, "spacing_mm": 5.0, "voxel_mm": 0.86},
        "consistency": {"relative_residual": 2e-8, "chi2_before_last_replacement": misfit},
        "seconds": {"total": 90.0},
        "warnings": ["one", "two"],
    }
    said = import_script("benchmark_scans").line(Path("folder/some_T2w.nii.gz"), report)
    assert said.split() == ["some_T2w", "25", "5.00", "0.860", "1.50", "2.0e-08", shown, "one;", "two"]


def test_a_program_is_timed_and_its_failure_told(peers):
    seconds, memory = peers.run([sys.executable, "-c", "import time; a = bytearray(2 * 10**8); time.sleep(0.3)"], 30)
    assert seconds >= 0.3 and memory > 190
    small = peers.run([sys.executable, "-c", "pass"], 30)[1]  # not that of the largest program so far
    assert small < memory - 150
    with pytest.raises(Exception, match="exit 1, it said: ValueError: nonsense"):
        peers.run([sys.executable, "-c", "raise ValueError('nonsense')"], 30)
    with pytest.raises(Exception, match="timed out"):
        peers.run([sys.executable, "-c", "import time; time.sleep(60)"], 0.2)


def test_headers_are_judged_by_where_voxels_are(peers, tmp_path):
    affine = np.diag([-1.0, 1, 4, 1])
    affine[:3, 3] = (20, -30, -22)
    scan = write_scan(tmp_path / "scan.nii.gz", np.ones((40, 50, 12), np.float32), affine)
    fine = make_grid(12, 4.0, 1.0, 0.0).affine(affine)
    data = np.ones((40, 50, 48), np.float32)
    right = write_scan(tmp_path / "right.nii.gz", data, fine)
    assert peers.header_errors(right, scan) == []
    turned = nib.as_closest_canonical(nib.load(right)).as_reoriented([[1, 1], [2, 1], [0, 1]])
    nib.save(turned, tmp_path / "turned.nii.gz")
    assert peers.header_errors(tmp_path / "turned.nii.gz", scan) == []
    careless = fine.copy()
    careless[:3, 3] = affine[:3, 3]  # the corner voxel kept, as is often seen
    (said,) = peers.header_errors(write_scan(tmp_path / "careless.nii.gz", data, careless), scan)
    assert said == "centre moved by 1.50 mm"
    short = write_scan(tmp_path / "short.nii.gz", data[..., :45], fine)
    assert peers.header_errors(short, scan)[1] == "extent 40.0 x 50.0 x 45.0 mm for 40.0 x 50.0 x 48.0 mm"
    assert "no form code" in peers.header_errors(write_scan(tmp_path / "codes.nii.gz", data, fine, 0, 0), scan)


def test_bright_and_dark_lesions_are_found_in_the_result(import_script, tmp_path, monkeypatch):
    """A result with half the contrast has it in its lines; those of one kind do not replace those of the other."""
    data = np.zeros((60, 60, 60), np.float32)
    data[4:56, 4:56, 4:56] = 100
    data[20:28, 26:34, 26:34], data[34:42, 26:34, 26:34] = 200, 40
    half = np.where(data > 0, (data + 100) / 2, 0).astype(np.float32)
    scan = write_scan(tmp_path / "scan.nii.gz", data, np.eye(4))
    result = write_scan(tmp_path / "result.nii.gz", half, np.eye(4))
    table = tmp_path / "contrast.csv"
    for words in ([], ["--below", "0.7"], []):
        argv = ["lesion_contrast.py", str(scan), str(result), "--inside", "10", "--csv", str(table), *words]
        monkeypatch.setattr("sys.argv", argv)
        import_script("lesion_contrast").main()
    with table.open(newline="") as stream:
        dark, bright = sorted(csv.DictReader(stream), key=lambda row: float(row["contrast_scan"]))
    assert (bright["lesions"], dark["lesions"]) == ("above 1.5", "below 0.7")
    for row, before in ((bright, 2.0), (dark, 0.4)):
        assert float(row["contrast_scan"]) == pytest.approx(before, rel=0.03)
        assert float(row["contrast_result"]) == pytest.approx((before + 1) / 2, rel=0.03)


def test_kept_samples_are_those_of_the_same_run(import_script):
    agree = import_script("benchmark_uncertainty").agree
    made = {"scan": "a", "seed": 0, "profile": {"kind": "rect", "path": None}}
    assert agree(made, {**made, "scan": "b", "new": 1})
    assert not agree(made, {**made, "seed": 1})
    assert not agree(made, {**made, "profile": {"kind": "slr", "path": None}})
