import json

import pytest

from focvs.errors import InputError
from focvs.scan.kind import Kind, stated_kind, words_of


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"Modality": "CT"}, "is CT, and FOCVS restores MRI"),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "is a phase image"),
        ({"ImageType": ["DERIVED", "IMAGINARY"]}, "the imaginary part"),
    ],
)
def test_the_json_beside_an_image_counts_as_its_header(tmp_path, stated, said):
    (tmp_path / "a.json").write_text(json.dumps(stated))
    with pytest.raises(InputError, match=said):
        stated_kind(tmp_path / "a.nii.gz")
    (tmp_path / "a.json").write_text(json.dumps({"Modality": "MR", "MRAcquisitionType": "3D", "ImageType": "M"}))
    assert "profile=kspace" in stated_kind(tmp_path / "a.nii.gz")[0]
    assert stated_kind(tmp_path / "none.nii.gz") == []


def test_words_and_warnings():
    assert (
        words_of(None) == [] and words_of("M") == ["M"] and words_of(["A", "B"]) == ["A", "B"] and words_of(3) == ["3"]
    )
    magnitude = Kind("MR", frozenset(("ORIGINAL", "M", "P")), "BRAIN", False)  # says both: a magnitude among others
    assert magnitude.warnings("a") == []
    assert "BodyPartExamined KNEE" in Kind("MR", frozenset(), "KNEE", False).warnings("a")[0]
    with pytest.raises(InputError, match="a was computed from others"):
        Kind("MR", frozenset(("MIP",)), "", False).warnings("a")
