"""The page of a run: one file that holds everything, escapes what it was given, and needs no network."""

import json
import logging
import re

import pytest

from focvs.pipeline import super_resolve
from runs import settings
from scans import write_thick_scan

LIMIT = 15 * 2**20  # bytes


@pytest.fixture(scope="module")
def page(tmp_path_factory, phantom, tiny_prior):
    folder = tmp_path_factory.mktemp("page")
    scan = folder / "<script>alert(1)<b> & 'x'.nii.gz"
    write_thick_scan(scan, phantom[1])
    return super_resolve(settings(scan, folder / "out", tiny_prior, "report=true", "figure=true"))


def test_a_page_holds_everything_and_fetches_nothing(page):
    text = page["report"].read_text(encoding="utf-8")
    assert page["report"].name == "<script>alert(1)<b> & 'x'_focvs.html" and len(text) < LIMIT
    assert "http:" not in text and "https:" not in text
    assert not re.search(r"(?:src|href)=\"(?!data:)", text)
    report = json.loads(page["json"].read_text())
    for words in ("What was acquired", "nothing says how thick", report["scan_sha256"], "not a medical device"):
        assert words in text
    assert f"{report['acquisition']['slices']} of the {report['acquisition']['voxels']} values" in text
    volumes = json.loads(re.search(r'id="volumes">(.*?)</script>', text, re.S)[1])
    assert [layer["name"] for layer in volumes["layers"]] == ["scan", "B-spline", "FOCVS", "standard deviation"]


def test_names_of_files_are_text(page):
    text = page["report"].read_text(encoding="utf-8")
    assert "<script>alert" not in text and "&lt;script&gt;alert(1)" in text
    assert text.count("<script") == text.count("</script>") == 2


def test_a_baseline_has_a_page_and_an_old_one_goes(tmp_path, thick_scan, tiny_prior):
    words = ("method=spline", "thickness=5")
    first = super_resolve(settings(thick_scan, tmp_path, tiny_prior, *words, "report=true"))
    text = first["report"].read_text(encoding="utf-8")
    assert "Restored from" in text and "by spline" in text and "standard deviation of its error" not in text
    second = super_resolve(settings(thick_scan, tmp_path, tiny_prior, *words))
    assert "report" not in second and not first["report"].exists()


def test_names_that_are_no_text_are_shown_as_far_as_they_are(tmp_path, phantom, tiny_prior):
    scan = write_thick_scan(tmp_path / b"k\xf6pf $x_1$ {%a}.nii.gz".decode("utf-8", "surrogateescape"), phantom[1])
    logging.disable()  # workers of tests cannot send such names
    try:
        paths = super_resolve(settings(scan, tmp_path / "out", tiny_prior, "report=true", "figure=true", "thickness=5"))
    finally:
        logging.disable(logging.NOTSET)
    assert "k\ufffdpf $x_1$ {%a}.nii.gz" in paths["report"].read_text(encoding="utf-8")
