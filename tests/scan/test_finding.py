"""Scans are found wherever they lie, once each, and results are not."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import generate_uid

from dicom_files import write_series
from focvs.errors import InputError
from focvs.scan.finding import find_scans, is_image

SLICES = np.random.default_rng(0).integers(1, 1000, (20, 24, 8)).astype(np.uint16)


def test_images_and_series_are_told_apart(tmp_path):
    study, out = tmp_path / "study", tmp_path / "study" / "out"
    (study / "sub-01" / "anat").mkdir(parents=True)
    for name in ("sub-01/anat/t1.nii.gz", "b.NII", "sub-01/x.img", "sub-01/x.hdr", "notes.txt", ".hidden.nii"):
        (study / name).touch()
    for name in ("b_focvs.nii.gz", "b_focvs-q05.nii.gz", "b_focvs-sample-03.nii.gz"):
        (study / name).touch()
    out.mkdir()
    (out / "old.nii.gz").touch()
    write_series(study / "dicom" / "one", SLICES, 4)
    uids = (generate_uid(), generate_uid(), generate_uid())
    write_series(study / "dicom" / "two", SLICES, 5)
    write_series(study / "dicom" / "two", SLICES, 6, series=uids, EchoTime=20)
    write_series(study / "dicom" / "two", SLICES, 6, series=uids, first=8, EchoTime=95)
    write_series(out / "dicom", SLICES, 9)
    found = {(str(f.path.relative_to(study)), str(f.place), f.series, f.echo) for f in find_scans(study, out)}
    assert found == {
        ("b.NII", ".", None, None),
        ("sub-01/x.img", "sub-01", None, None),
        ("sub-01/anat/t1.nii.gz", "sub-01/anat", None, None),
        ("dicom/one", "dicom/one", None, None),
        ("dicom/two", "dicom/two", "5", None),
        ("dicom/two", "dicom/two", "6", 1),
        ("dicom/two", "dicom/two", "6", 2),
    }
    names = [f.name for f in find_scans(study, out)]
    assert "sub-01/anat/t1.nii.gz" in names and "dicom/two, series 6, echo 2" in names and len(set(names)) == 7


@pytest.mark.parametrize(
    ("name", "image"),
    [("a.nii", True), ("a.MGZ", True), ("a_focvs.nii", False), ("a_focvs-x.nii", True), ("a.hdr", False), ("a", False)],
)
def test_names_of_images(name, image):
    assert is_image(Path(name)) == image


def test_an_empty_folder_has_none(tmp_path):
    os.mkdir(tmp_path / "none")
    assert find_scans(tmp_path / "none", tmp_path) == []


def test_dicom_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    folder = write_series(tmp_path / "dicom", SLICES)
    bad = folder / "01_003.dcm"
    bad.write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 9)
    found = find_scans(tmp_path, tmp_path / "out")
    assert [(f.path.name, bool(f.fault)) for f in found] == [("01_003.dcm", True), ("dicom", False)]
    assert "cannot be read" in found[0].fault
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(InputError, match=r"holds DICOM files: install .*focvs\[dicom\]"):
        find_scans(tmp_path, tmp_path / "out")
