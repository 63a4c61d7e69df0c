"""What identifies a patient stays where it was: no name, number, date or UID of DICOM in results, logs or pages."""

import gzip
import logging

import numpy as np
import pytest

from command_line import quick
from dicom_files import write_series
from focvs.cli import main

PLANTED = {
    "PatientName": "Plantedname^Given",
    "PatientID": "PLANTEDID77",
    "PatientBirthDate": "19440319",
    "PatientAddress": "Plantedstreet 5",
    "StudyDate": "20190417",
    "SeriesDate": "20190418",
    "AcquisitionDate": "20190419",
    "ContentDate": "20190420",
    "StudyTime": "112233.445566",
    "AcquisitionTime": "112234.556677",
    "AccessionNumber": "PLANTEDACC",
    "StudyInstanceUID": "1.2.826.0.1.99.77.5555.1",
    "FrameOfReferenceUID": "1.2.826.0.1.99.77.5555.2",
    "InstitutionName": "Plantedhospital",
    "ReferringPhysicianName": "Planteddoctor",
    "OperatorsName": "Plantedoperator",
    "DeviceSerialNumber": "PLANTEDSERIAL",
}


@pytest.fixture
def slices(phantom):
    return (1000 * phantom[1][..., ::5]).astype(np.uint16).transpose(1, 0, 2)


def contents(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            yield path, gzip.decompress(content) if path.name.endswith(".gz") else content


def test_nothing_of_the_patient_is_in_results_or_logs(tmp_path, slices, tiny_prior, caplog, capfd):
    write_series(tmp_path / "dicom", slices, 3, **PLANTED)
    out = tmp_path / "out"
    words = [word for word in quick(tiny_prior) if not word.startswith(("figure", "report"))]
    with caplog.at_level(logging.DEBUG):
        assert main([str(tmp_path / "dicom"), str(out), *words, "-v", "log=json"]) == 0
    said = "".join(capfd.readouterr()) + caplog.text
    assert len(list(out.iterdir())) >= 5
    for key, value in PLANTED.items():
        for word in {*value.split("^"), value.partition(".")[0] if key.endswith("Time") else value}:
            assert word not in said, f"{key} is in the log"
            for path, content in contents(out):
                assert word.encode() not in content, f"{key} is in {path.name}"


@pytest.mark.parametrize(
    "name", ["../../../planted", "/planted", "..", "a/../../planted", "C:\\planted", "\x00planted"]
)
def test_names_of_series_lead_nowhere_else(tmp_path, slices, tiny_prior, name):
    write_series(tmp_path / "place" / "dicom", slices, 3, SeriesDescription=name, ProtocolName=name)
    before = {path for path in tmp_path.rglob("*") if "out" not in path.parts}
    out = tmp_path / "place" / "out"
    assert main([str(tmp_path / "place" / "dicom"), str(out), *quick(tiny_prior)]) == 0
    outside = {path for path in tmp_path.rglob("*") if not path.is_relative_to(out)}
    assert outside == {path for path in before if not path.is_relative_to(out)}
    assert list(out.glob("*_focvs.nii.gz"))
