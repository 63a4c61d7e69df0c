import numpy as np
import pytest
from pydicom.uid import generate_uid

from dicom_files import SPACING, write_localizer, write_series
from focvs.errors import InputError
from focvs.scan.dicom_series import choose_series, find_series, inspect

SLICES = np.random.default_rng(0).integers(1, 1000, (12, 14, 12)).astype(np.uint16)
PLACES = SPACING * np.arange(12)


def one(folder, **options):
    return choose_series(find_series(folder), folder, options.get("series"), options.get("echo"))


def test_a_series_is_what_its_headers_say(tmp_path):
    folder = write_series(tmp_path / "a", SLICES, 7)
    (folder / "readme.txt").write_text("not an image")
    found = one(folder)
    assert (found.number, found.description, found.modality) == ("7", "t2_tse", "MR")
    assert len(found.planes) == 12 and found.echoes_ms == [90.0]
    assert inspect(found, folder) == []


def test_one_of_several_series_is_chosen_by_number_or_name(tmp_path):
    folder = write_series(tmp_path / "a", SLICES, 2)
    write_series(folder, SLICES, 10, SeriesDescription="flair")
    with pytest.raises(InputError, match=r"holds 2 series: 2 t2_tse \(12 slices\), 10 flair .* series=NUMBER"):
        one(folder)
    assert one(folder, series="10").description == "flair" and one(folder, series="flair").number == "10"
    with pytest.raises(InputError, match="series=3 is not in"):
        one(folder, series="3")


def test_one_of_several_echoes_is_chosen_by_its_number(tmp_path):
    uids = (generate_uid(), generate_uid(), generate_uid())
    folder = write_series(tmp_path / "a", SLICES, series=uids, EchoTime=95)
    write_series(folder, SLICES, series=uids, first=12, EchoTime=20)
    with pytest.raises(InputError, match=r"holds 2 echoes \(echo=1: 20 ms, echo=2: 95 ms\)"):
        one(folder)
    assert one(folder, echo=1).echoes_ms == [20.0] and len(one(folder, echo=2).planes) == 12
    with pytest.raises(InputError, match="echo=3"):
        one(folder, echo=3)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"Modality": "CT"}, "is CT, and FOCVS restores MRI"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "is a phase image"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, "was computed from others"),
        ({"ImagePositionPatient": None}, "does not say where its slices lie"),
        ({"places": np.delete(PLACES, 6)}, r"slices are missing \(1\), 12 mm between slices 6 and 7"),
        ({"places": np.append(PLACES[:6], PLACES[:6] * 1.5 + 39)}, "unevenly spaced"),
        ({"places": np.append(PLACES[:11], PLACES[3])}, "1 lie where another does, the first at 18 mm"),
    ],
)
def test_what_is_no_stack_of_mri_slices_is_refused(tmp_path, tags, said):
    slices = SLICES[..., : len(tags["places"])] if "places" in tags else SLICES
    folder = write_series(tmp_path / "a", slices, **tags)
    with pytest.raises(InputError, match=said):
        inspect(one(folder), folder)


def test_echo_times_and_places_may_be_rounded(tmp_path):
    uids = (generate_uid(), generate_uid(), generate_uid())
    folder = write_series(tmp_path / "a", SLICES[..., :6], series=uids, places=PLACES[:6] + 0.05, EchoTime=95)
    write_series(folder, SLICES[..., 6:], series=uids, places=PLACES[6:], first=6, EchoTime=95.0001)
    found = one(folder)
    assert len(found.planes) == 12 and inspect(found, folder) == []


def test_a_localizer_is_called_one(tmp_path):
    folder = write_localizer(tmp_path / "a", SLICES)
    with pytest.raises(InputError, match="slices of 3 orientations, as a localizer"):
        inspect(one(folder), folder)


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        ({"BodyPartExamined": "KNEE"}, "BodyPartExamined KNEE"),
        ({"MRAcquisitionType": "3D"}, "profile=kspace"),
        ({"BodyPartExamined": "HEAD"}, None),
    ],
)
def test_what_is_odd_is_a_warning(tmp_path, tags, said):
    folder = write_series(tmp_path / "a", SLICES, **tags)
    warnings = inspect(one(folder), folder)
    assert [said in warning for warning in warnings] == ([True] if said else [])


def test_folders_without_dicom(tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no DICOM series"):
        find_series(tmp_path / "none")
    (tmp_path / "none" / "a.nii.gz").touch()
    with pytest.raises(InputError, match=r"image files \(a\.nii\.gz\).* give one of them"):
        find_series(tmp_path / "none")
    folder = write_series(tmp_path / "cut", SLICES)
    file = next(folder.iterdir())
    file.write_bytes(file.read_bytes()[:180])
    assert len(one(folder).planes) == 11
