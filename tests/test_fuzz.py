"""Random headers, sidecars, command lines and DICOM tags: an answer or one sentence, never another exception.

``FOCVS_FUZZ=2500 python -m pytest tests/test_fuzz.py`` tries ten thousand; few are tried without it.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from focvs.cli import main
from focvs.commands.command_help import groups_of, keys_of
from focvs.errors import FocvsError
from focvs.files import write_json
from focvs.scan.background import without_background
from focvs.scan.dicom_series import TAGS, _planes, _series, choose_series, inspect
from focvs.scan.missing import find_missing
from focvs.scan.scan import read_scan
from focvs.scan.sidecar import find_thickness, stated_profile
from scans import write_scan

EXAMPLES = int(os.environ.get("FOCVS_FUZZ", "15"))
LIMITS = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


logging.getLogger("pydicom").setLevel("CRITICAL")  # of values that tests give it on purpose


def is_one_sentence(error, named):
    assert "\n" not in str(error) and named in str(error)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in (20, 22, 8)], indexing="ij"))
    data = np.where((places**2).sum(0) < 0.8, 500 + 90 * places[0], 4).astype(np.int16)
    path = write_scan(tmp_path_factory.mktemp("fuzz") / "whole.nii", data, np.diag([-4.0, 4.0, 10.0, 1.0]))
    return path.read_bytes()


FIELDS = st.one_of(
    # anything anywhere
    st.tuples(st.integers(0, 351), st.binary(min_size=1, max_size=4)),
    # numbers that matter: dim, type, bits, pixdim, offset, slope, intercept, codes, quaternion, rows of the sform
    st.tuples(
        st.sampled_from([40, 42, 44, 46, 48, 70, 72, 252, 254]),
        st.integers(-(2**15), 2**15 - 1).map(lambda v: v.to_bytes(2, "little", signed=True)),
    ),
    st.tuples(
        st.sampled_from([76, 80, 84, 88, 108, 112, 116, 256, 260, 264, 268, 280, 284, 296, 312, 320, 324]),
        st.floats(width=32).map(lambda v: np.float32(v).tobytes()),
    ),
    st.tuples(st.just(123), st.binary(min_size=1, max_size=1)),
)


@LIMITS
@given(st.lists(FIELDS, min_size=1, max_size=5), st.integers(0, 4000))
def test_headers(tmp_path_factory, whole, changes, cut):
    content = bytearray(whole)
    for place, value in changes:
        content[place : place + len(value)] = value
    path = tmp_path_factory.getbasetemp() / "fuzzed.nii"
    path.write_bytes(bytes(content[: len(content) - cut] if cut % 7 == 0 else content))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            scan = find_missing(without_background(read_scan(path)))
    except FocvsError as error:
        is_one_sentence(error, str(path))
        return
    assert np.isfinite(scan.data).all() and np.isfinite(scan.affine).all() and scan.spacing_mm > 0


VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(["3.0", "4,5 mm"])
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)


@LIMITS
@given(
    st.one_of(
        st.fixed_dictionaries(
            {}, optional={"SliceThickness": VALUES, "SpacingBetweenSlices": VALUES, "SliceProfile": VALUES}
        ).map(lambda v: json.dumps(v).encode()),
        st.binary(max_size=60),
        st.text(max_size=40).map(lambda v: v.encode("utf-16", "surrogatepass")),
    )
)
def test_sidecars(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp()
    (folder / "side.json").write_bytes(content)
    found = find_thickness(folder / "side.nii.gz", 5.0)
    assert 0 < found.thickness_mm <= 20 and all("\n" not in warning for warning in found.warnings)
    assert isinstance(stated_profile(folder / "side.nii.gz"), str | None)
    write_json(folder / "out.json", {"stated": [s.__dict__ for s in found.statements], "warnings": found.warnings})
    json.loads((folder / "out.json").read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


KEYS = [key.name for key in keys_of("config")] + [group.name for group in groups_of("config")]
WORDS = st.one_of(
    st.tuples(st.sampled_from(KEYS), st.sampled_from(["=", "=", "=", " = ", "==", ":"]), st.text(max_size=10)).map(
        "".join
    ),
    st.tuples(
        st.sampled_from(KEYS),
        st.just("="),
        st.one_of(
            st.integers(), st.floats(), st.sampled_from(["4,5", "[1", "{a: 1}", "null", "true", "${x}", "'", "1e999"])
        ).map(str),
    ).map("".join),
    st.sampled_from(
        ["-m", "-q", "-v", "--fast", "-o", "evaluate", "help", "completion", "~thickness", "+a=1", "++seed=2"]
    ),
    st.text(max_size=12),
)


@LIMITS
@given(st.lists(WORDS, max_size=5))
def test_command_lines(tmp_path_factory, capsys, words):
    words = [word.replace("\0", "") for word in words]
    code = main(["--cfg", "job", "scan.nii.gz", *words])
    err = capsys.readouterr().err
    assert code in (0, 1, 2)
    assert code == 0 or [line.startswith("focvs: ") for line in err.splitlines()][:1] == [True]


def tagged(values):
    """A header with odd values; those that pydicom itself refuses are left out."""
    header = Dataset()
    header.Rows, header.Modality, header.SeriesNumber, header.SeriesDescription = 4, "MR", 1, "t2"
    header.ImagePositionPatient, header.ImageOrientationPatient = [0, 0, 0], [1, 0, 0, 0, 1, 0]
    for name, value in values.items():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                setattr(header, name, value)
        except (TypeError, ValueError, OverflowError, AttributeError):
            continue
    return header


SIMPLE = [tag for tag in TAGS if not tag.endswith("Sequence")]
ODD = st.one_of(
    st.none(),
    st.text(max_size=6),
    st.integers(-5, 5),
    st.lists(st.floats(-300, 300), max_size=7),
    st.just(""),
    st.just([]),
)


@LIMITS
@given(
    st.lists(st.dictionaries(st.sampled_from(SIMPLE), ODD, max_size=4), min_size=1, max_size=8),
    st.lists(st.lists(st.floats(-300, 300), max_size=4), max_size=3),
)
def test_dicom_tags(values, frames):
    members = [(tagged(v), Path(f"{k}.dcm")) for k, v in enumerate(values)]
    groups = []
    for place in frames:
        frame, plane = Dataset(), Dataset()
        try:
            plane.ImagePositionPatient = place
        except (TypeError, ValueError, OverflowError):
            continue
        frame.PlanePositionSequence = Sequence([plane])
        groups.append(frame)
    if groups:
        members[0][0].PerFrameFunctionalGroupsSequence = Sequence(groups)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            series = _series(members)
            inspect(choose_series([series], Path("series"), None, None), Path("series"))
    except FocvsError as error:
        is_one_sentence(error, "series")
        return
    assert all(np.isfinite(p.position).all() for h, f in members for p in _planes(h, f))
