import json

import pytest

from focvs.errors import InputError
from focvs.scan.sidecar import find_thickness


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


@pytest.mark.parametrize("value", [0, -1, 0.005, 21.0, float("nan")])
def test_impossible_overrides_are_refused(tmp_path, value):
    with pytest.raises(InputError, match=r"give millimetres, from 0\.5 to 20"):
        find_thickness(tmp_path / "a.nii.gz", 5.0, value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"SliceThickness": 40}, "impossible"),
        ({"SliceThickness": True}, "impossible"),
        ({"SliceThickness": "thick"}, "impossible"),
        ("{broken", "could not be read"),
        ("[1]", "could not be read"),
    ],
)
def test_odd_sidecars_fall_back_with_a_warning(tmp_path, content, words):
    found = find_thickness(sidecar(tmp_path, content), 5.0)
    assert found.source == "spacing"
    assert words in found.warnings[0]


def test_micrometres_are_recognised(tmp_path):
    found = find_thickness(sidecar(tmp_path, {"SliceThickness": 4000, "SpacingBetweenSlices": 5000}), 5.0)
    assert (found.thickness_mm, found.source) == (4.0, "sidecar")
    assert "micrometres" in found.warnings[0] and len(found.warnings) == 1


@pytest.mark.parametrize(("between", "words"), [(1, "the gap between slices"), (3, "SpacingBetweenSlices 3 mm;")])
def test_wrong_spacing_in_the_sidecar_is_reported(tmp_path, between, words):
    found = find_thickness(sidecar(tmp_path, {"SliceThickness": 4, "SpacingBetweenSlices": between}), 5.0)
    assert found.thickness_mm == 4
    assert words in found.warnings[0] and "the geometry says 5 mm and was used" in found.warnings[0]


def test_every_source_is_in_the_table(tmp_path):
    path = sidecar(tmp_path, {"SliceThickness": 4, "SpacingBetweenSlices": 5.2})
    lines = find_thickness(path, 5.2, 3.0).table(5.2).splitlines()
    assert [line.split()[:3] for line in lines[1:4]] == [
        ["geometry", "-", "5.2"],
        ["a.json", "4", "5.2"],
        ["thickness=", "3", "-"],
    ]
    assert lines[-1].split() == ["used", "3", "5.2", "thickness", "from", "the", "override"]


def test_a_bids_scan_inherits_from_the_files_above_it(tmp_path, monkeypatch):
    folder = tmp_path / "sub-01" / "anat"
    folder.mkdir(parents=True)
    scan = folder / "sub-01_acq-tse_T2w.nii.gz"
    (tmp_path / "T2w.json").write_text(json.dumps({"SliceThickness": 4.0}))
    (tmp_path / "acq-flair_T2w.json").write_text(json.dumps({"SliceThickness": 2.0}))
    assert find_thickness(scan, 5.0).source == "spacing"  # no data set
    (tmp_path / "dataset_description.json").write_text("{}")
    assert find_thickness(scan, 5.0).thickness_mm == 4.0
    (tmp_path / "acq-tse_T2w.json").write_text(json.dumps({"SliceThickness": 4.5}))
    assert find_thickness(scan, 5.0).thickness_mm == 4.5  # the more specific one
    (folder / "sub-01_acq-tse_T2w.json").write_text(json.dumps({"EchoTime": 0.1}))
    assert find_thickness(scan, 5.0).thickness_mm == 4.5  # the file beside it does not know
    (folder / "sub-01_acq-tse_T2w.json").write_text(json.dumps({"SliceThickness": 3.5}))
    assert find_thickness(scan, 5.0).thickness_mm == 3.5
    assert [s.thickness_mm for s in find_thickness(scan, 5.0).statements] == [None, 3.5, 4.5, 4.0]
    monkeypatch.chdir(tmp_path)
    relative = find_thickness(scan.relative_to(tmp_path), 5.0)
    assert relative.statements == find_thickness(scan, 5.0).statements
