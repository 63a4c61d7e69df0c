"""DICOM series that tests write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

SPACING, THICKNESS, PIXEL = 6.0, 5.0, 1.2
AXIAL = (1, 0, 0, 0, 1, 0)
PLANES = (AXIAL, (0, 1, 0, 0, 0, -1), (1, 0, 0, 0, 0, -1))


def write_slice(path: Path, pixels: np.ndarray, position, orientation=AXIAL, series=None, number=1, **tags) -> None:
    """One slice ``(rows, columns)`` of uint16 in the patient's coordinates (LPS)."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID, meta.MediaStorageSOPClassUID = ExplicitVRLittleEndian, MRImageStorage
    meta.MediaStorageSOPInstanceUID = generate_uid()
    ds = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = MRImageStorage, meta.MediaStorageSOPInstanceUID
    ds.Modality, ds.Manufacturer, ds.PatientID, ds.PatientName = "MR", "SIEMENS", "1", "A"
    ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = series or (generate_uid(),) * 3
    ds.SeriesNumber, ds.InstanceNumber, ds.AcquisitionNumber = 1, number, 1
    ds.SeriesDescription, ds.ImageType = "t2_tse", ["ORIGINAL", "PRIMARY", "M"]
    ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = "20260101"
    ds.StudyTime = ds.SeriesTime = ds.AcquisitionTime = ds.ContentTime = "120000"
    ds.MRAcquisitionType, ds.EchoTime, ds.RepetitionTime = "2D", 90, 4000
    ds.SliceThickness, ds.SpacingBetweenSlices = THICKNESS, SPACING
    ds.PixelSpacing, ds.ImageOrientationPatient = [PIXEL, PIXEL], list(orientation)
    ds.ImagePositionPatient = [float(round(v, 4)) for v in position]
    ds.Rows, ds.Columns = pixels.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PixelRepresentation = 1, "MONOCHROME2", 0
    ds.BitsAllocated = ds.BitsStored = 16
    ds.HighBit = 15
    for name, value in tags.items():
        if value is None:
            delattr(ds, name)
        else:
            setattr(ds, name, value)
    ds.PixelData = np.ascontiguousarray(pixels).tobytes()
    pydicom.dcmwrite(path, ds, enforce_file_format=True)


def write_series(
    folder: Path, slices: np.ndarray, number=1, places=None, series=None, first=0, lean=0.0, **tags
) -> Path:
    """Axial slices ``(rows, columns, m)`` of uint16, feet first; ``lean`` mm to the back from slice to slice."""
    folder.mkdir(parents=True, exist_ok=True)
    series = series or (generate_uid(), generate_uid(), generate_uid())
    places = -33.0 + SPACING * np.arange(slices.shape[-1]) if places is None else places
    for k, z in enumerate(places):
        where = (-30.0, -40.0 + lean * k, float(z))
        path = folder / f"{number:02d}_{first + k:03d}.dcm"
        write_slice(path, slices[..., k], where, AXIAL, series, first + k + 1, SeriesNumber=number, **tags)
    return folder


def write_localizer(folder: Path, slices: np.ndarray) -> Path:
    """Three planes of slices in one series."""
    folder.mkdir(parents=True, exist_ok=True)
    series = (generate_uid(), generate_uid(), generate_uid())
    for n, orientation in enumerate(PLANES):
        normal = np.cross(orientation[:3], orientation[3:])
        for k in range(4):
            path = folder / f"{n}_{k}.dcm"
            write_slice(path, slices[..., k], 10.0 * k * normal, orientation, series, 4 * n + k + 1)
    return folder
