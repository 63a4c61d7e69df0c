"""DICOM series through dcm2niix: geometry, thickness and intensities arrive as they were written."""

import sys

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from focvs.errors import InputError
from focvs.scan import dicom
from focvs.scan.dicom import convert_series, open_scan
from focvs.scan.sidecar import find_thickness

SPACING, THICKNESS, PIXEL = 6.0, 5.0, 1.2


def write_series(folder, slices, number=1):
    """Axial slices ``(rows, columns, m)`` of uint16, feet first, in the patient's coordinates (LPS)."""
    folder.mkdir(exist_ok=True)
    series, study, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(slices.shape[-1]):
        meta = FileMetaDataset()
        meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
        meta.MediaStorageSOPInstanceUID = generate_uid()
        ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
        ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
        ds.Modality, ds.Manufacturer, ds.PatientID, ds.PatientName = "MR", "SIEMENS", "1", "A"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = study, series, frame
        ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = number, k + 1, 1
        ds.SeriesDescription, ds.ImageType = "t2_tse", ["ORIGINAL", "PRIMARY", "M"]
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260101"
        ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "120000"
        ds.MRAcquisitionType, ds.EchoTime, ds.RepetitionTime = "2D", 90, 4000
        ds.SliceThickness, ds.SpacingBetweenSlices = THICKNESS, SPACING
        ds.PixelSpacing, ds.ImageOrientationPatient = [PIXEL, PIXEL], [1, 0, 0, 0, 1, 0]
        ds.ImagePositionPatient = [-30.0, -40.0, -33.0 + SPACING * k]
        ds.SliceLocation = -33.0 + SPACING * k
        ds.Rows, ds.Columns = slices.shape[:2]
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
        ds.BitsAllocated = ds.BitsStored = 16
        ds.HighBit = 15
        ds.PixelData = np.ascontiguousarray(slices[..., k]).tobytes()
        pydicom.dcmwrite(folder / f"{number:02d}_{k:03d}.dcm", ds, enforce_file_format=True)
    return folder


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
    other = nib.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4))
    nib.save(other, first)
    with pytest.raises(InputError, match="is another scan"):
        open_scan(folder, out)
    assert nib.load(first).shape == (4, 4, 4)
    with pytest.raises(InputError, match="give an output folder"):
        open_scan(folder, None)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        open_scan(folder, tmp_path / "file")


def test_folders_without_one_series_are_refused(tmp_path, slices):
    two = write_series(tmp_path / "two", slices, 1)
    write_series(two, slices, 2)
    with pytest.raises(InputError, match="holds 2 series"):
        convert_series(two, tmp_path / "out")
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="found no series"):
        convert_series(tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_without_dcm2niix_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "dcm2niix", None)
    with pytest.raises(InputError, match=r"pip install 'focvs\[dicom\]'"):
        convert_series(tmp_path, tmp_path)


def test_what_the_converter_warns_of_is_passed_on(tmp_path, slices, monkeypatch, caplog):
    folder, real = write_series(tmp_path / "series", slices), dicom.subprocess.run

    def warn(*arguments, **options):
        done = real(*arguments, **options)
        done.stdout, done.returncode = "Warning: Unable to determine the slice order\nfine\n", 3
        return done

    monkeypatch.setattr(dicom.subprocess, "run", warn)
    convert_series(folder, tmp_path / "out")
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line.removeprefix(f"{folder}: ") for line in said] == [
        "Warning: Unable to determine the slice order",
        "dcm2niix ended with 3; is the series complete?",
    ]
