"""DICOM series through dcm2niix: geometry, thickness and intensities arrive as they were written."""

import sys

import nibabel as nib
import numpy as np
import pytest
from pydicom.uid import generate_uid

from dicom_files import PIXEL, SPACING, THICKNESS, write_localizer, write_series
from focvs.cli import main
from focvs.errors import InputError
from focvs.scan import dicom
from focvs.scan.dicom import leaving_nothing, open_scan
from focvs.scan.sidecar import find_thickness


@pytest.fixture
def slices():
    return np.random.default_rng(0).integers(1, 1000, (40, 48, 12)).astype(np.uint16)


def test_a_series_becomes_a_scan_with_its_thickness(tmp_path, slices):
    folder = write_series(tmp_path / "series", slices)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    scan = open_scan(folder, tmp_path / "out")
    assert scan.path == tmp_path / "out" / "series.nii.gz" and scan.stem == "series"
    assert scan.spacing_mm == pytest.approx(SPACING) and scan.in_plane_mm == pytest.approx((PIXEL, PIXEL))
    found = find_thickness(scan.path, scan.spacing_mm)
    assert (found.thickness_mm, found.source, found.warnings) == (THICKNESS, "sidecar", ())
    image = nib.as_closest_canonical(nib.load(scan.path))
    # columns run to the left, rows to the back
    assert np.array_equal(np.asarray(image.dataobj), slices[::-1, ::-1].transpose(1, 0, 2))
    corner = nib.affines.apply_affine(image.affine, [0, 0, 0])
    assert corner == pytest.approx([30 - PIXEL * 47, 40 - PIXEL * 39, -33.0], abs=1e-3)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before  # the input is untouched


def test_another_scan_of_that_name_is_kept(tmp_path, slices):
    folder, out = write_series(tmp_path / "series", slices), tmp_path / "out"
    first = open_scan(folder, out).path
    stamp = first.stat().st_mtime_ns
    assert open_scan(folder, out).path == first and first.stat().st_mtime_ns == stamp
    other = nib.Nifti1Image(np.ones((14, 14, 14), np.float32), np.eye(4))
    nib.save(other, first)
    with pytest.raises(InputError, match="is another scan"):
        open_scan(folder, out)
    assert nib.load(first).shape == (14, 14, 14)
    with pytest.raises(InputError, match="give an output folder"):
        open_scan(folder, None)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        open_scan(folder, tmp_path / "file")


def test_a_chosen_echo_alone_is_converted(tmp_path, slices):
    uids = (generate_uid(), generate_uid(), generate_uid())
    folder = write_series(tmp_path / "series", slices, series=uids, EchoTime=20)
    write_series(folder, slices // 2, series=uids, first=12, EchoTime=95)
    first, second = (open_scan(folder, tmp_path / str(echo), echo=echo) for echo in (1, 2))
    assert first.data.shape == second.data.shape == (48, 40, 12)
    assert np.abs(first.data // 2 - second.data).max() == 0
    assert (first.stem, second.stem) == ("series_echo1", "series_echo2")


def test_one_of_several_series_is_called_by_its_own_name(tmp_path, slices):
    folder = write_series(tmp_path / "study", slices, 1)
    write_series(folder, slices // 2, 12, SeriesDescription="t1 (post)")
    stems = [open_scan(folder, tmp_path / "out", series=series).stem for series in ("1", "12")]
    assert stems == ["study_1_t2_tse", "study_12_t1-post"]


@pytest.mark.parametrize("kind", ["two", "none", "localizer", "few", "uneven"])
def test_a_refused_folder_leaves_nothing(tmp_path, slices, kind):
    folder = tmp_path / "series"
    folder.mkdir()
    if kind == "two":
        write_series(folder, slices, 1)
        write_series(folder, slices, 2)
    elif kind == "localizer":
        write_localizer(folder, slices)
    elif kind == "few":
        write_series(folder, slices[..., :3])
    elif kind == "uneven":
        write_series(folder, slices, places=np.cumsum(np.arange(12.0)) + 3)
    with pytest.raises(InputError):
        open_scan(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_its_programs_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dcm2niix", None)
    with pytest.raises(InputError, match=r"pip install 'focvs\[dicom\]'"):
        open_scan(tmp_path, tmp_path)


def answers(monkeypatch, text, code=0):
    """dcm2niix does its work and says something else."""
    real = dicom.subprocess.run

    def run(*arguments, **options):
        done = real(*arguments, **options)
        done.stdout, done.returncode = text, code
        return done

    monkeypatch.setattr(dicom.subprocess, "run", run)


def test_what_the_converter_warns_of_reaches_the_scan(tmp_path, slices, monkeypatch):
    folder = write_series(tmp_path / "series", slices, MRAcquisitionType="3D")
    answers(monkeypatch, "Warning: Unable to determine the slice order\nfine\n")
    warnings = open_scan(folder, tmp_path / "out").warnings
    assert "profile=kspace" in warnings[0] and warnings[1] == "Warning: Unable to determine the slice order"


@pytest.mark.parametrize(
    ("said", "code", "expected"),
    [
        ("Error: it broke", 2, r"ended with 2 \(Error: it broke\)"),
        ("Warning: Interslice distance varies in this volume (incompatible with NIfTI format).", 0, "distance of its"),
    ],
)
def test_what_the_converter_doubts_is_refused(tmp_path, slices, monkeypatch, said, code, expected):
    folder = write_series(tmp_path / "series", slices)
    answers(monkeypatch, said, code)
    with pytest.raises(InputError, match=expected):
        open_scan(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_run_that_is_refused_later_leaves_nothing_either(tmp_path, slices, capsys):
    folder = write_series(tmp_path / "series", slices)
    for words in (["thickness=40"], ["voxel=7"], ["path=/nothing/here"]):
        assert main([str(folder), str(tmp_path / "out"), *words]) == 1
        assert not (tmp_path / "out").exists(), words
    assert main(["profile", str(folder), str(tmp_path / "out")]) == 1
    assert not (tmp_path / "out").exists()
    stack = write_series(tmp_path / "other", slices, places=500 + SPACING * np.arange(12))
    words = [str(folder), str(tmp_path / "out"), f"stacks=[{stack}]", "align=headers"]
    assert main(words) == 1 and "hardly overlap" in capsys.readouterr().err
    assert not list(tmp_path.glob("out/**/*.nii.gz"))


def test_what_was_there_before_stays(tmp_path):
    (tmp_path / "kept").touch()

    def fail():
        with leaving_nothing() as left:
            (tmp_path / "new").touch()
            left.append(tmp_path / "new")
            raise InputError("on purpose")

    with pytest.raises(InputError, match="on purpose"):
        fail()
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
