"""Whatever a sidecar says, the thickness is possible and what is odd is said in words."""

import json
import math

from hypothesis import given
from hypothesis import strategies as st

from focvs.scan.sidecar import THICKEST, find_thickness

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.lists(st.floats(), max_size=3)
)


@given(thickness=ANYTHING, between=ANYTHING, spacing=st.floats(1.0, 12.0))
def test_no_sidecar_makes_an_impossible_thickness(tmp_path_factory, thickness, between, spacing):
    folder = tmp_path_factory.mktemp("sidecar")
    (folder / "scan.json").write_text(json.dumps({"SliceThickness": thickness, "SpacingBetweenSlices": between}))
    found = find_thickness(folder / "scan.nii.gz", spacing)
    assert math.isfinite(found.thickness_mm) and 0 < found.thickness_mm <= THICKEST * spacing
    assert found.source in ("sidecar", "spacing")
    assert all(isinstance(warning, str) and "\n" not in warning for warning in found.warnings)
    if found.source == "spacing":
        assert found.thickness_mm == spacing


@given(st.binary(max_size=200), st.floats(1.0, 12.0))
def test_files_that_are_no_sidecar_are_left_out_with_a_word(tmp_path_factory, content, spacing):
    folder = tmp_path_factory.mktemp("sidecar")
    (folder / "scan.json").write_bytes(content)
    found = find_thickness(folder / "scan.nii.gz", spacing)
    assert found.thickness_mm == spacing and found.source == "spacing"


@given(thickness=st.floats(0.5, 8.0), ratio=st.floats(0.8, 2.0))
def test_micrometres_are_the_same_thickness(tmp_path_factory, thickness, ratio):
    folder = tmp_path_factory.mktemp("sidecar")
    found = []
    for factor in (1, 1000):
        (folder / "scan.json").write_text(json.dumps({"SliceThickness": factor * thickness}))
        found.append(find_thickness(folder / "scan.nii.gz", thickness * ratio).thickness_mm)
    assert math.isclose(*found, rel_tol=1e-9)
