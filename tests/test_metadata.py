import json

import pytest

from focvs.acquisition.metadata import find_thickness
from focvs.errors import InputError


def sidecar(tmp_path, content):
    (tmp_path / "a.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return tmp_path / "a.nii.gz"


def test_override_then_sidecar_then_spacing(tmp_path):
    path = sidecar(tmp_path, {"SliceThickness": 4, "SpacingBetweenSlices": 5.2})
    assert find_thickness(path, 5.2, 3.0).thickness_mm == 3.0
    assert find_thickness(path, 5.2, 3.0).source == "override"
    found = find_thickness(path, 5.2)
    assert (found.thickness_mm, found.source, found.warnings) == (4.0, "sidecar", ())
    bare = find_thickness(tmp_path / "b.nii", 5.2)
    assert (bare.thickness_mm, bare.source) == (5.2, "spacing")


@pytest.mark.parametrize("value", [0, -1, 21.0, float("nan")])
def test_impossible_overrides_are_refused(tmp_path, value):
    with pytest.raises(InputError, match="at most 20"):
        find_thickness(tmp_path / "a.nii.gz", 5.0, value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"SliceThickness": 4000}, "micrometres"),
        ({"SliceThickness": "thick"}, "impossible"),
        ("{broken", "could not be read"),
        ("[1]", "could not be read"),
    ],
)
def test_odd_sidecars_fall_back_with_a_warning(tmp_path, content, words):
    found = find_thickness(sidecar(tmp_path, content), 5.0)
    assert found.source == "spacing"
    assert words in found.warnings[0]


def test_wrong_spacing_in_the_sidecar_is_reported(tmp_path):
    found = find_thickness(sidecar(tmp_path, {"SliceThickness": 4, "SpacingBetweenSlices": 1}), 5.0)
    assert found.thickness_mm == 4
    assert "the geometry was used" in found.warnings[0]
