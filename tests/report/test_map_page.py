"""The page of maps holds what the JSON and the files do."""

import re
from dataclasses import replace

import pytest

from focvs.acquisition.truncation import KSpaceTruncation
from focvs.config import QmriConfig
from focvs.report.map_page import FinishedMaps, render_map_page, write_map_page
from focvs.report.map_report import Given, describe_maps, write_maps
from map_results import SHAPE, block, finished


def rows_of(page):
    """What every table says, by the head of its rows."""
    rows = re.findall(r"<tr><th>([^<]*)</th>(.*?)</tr>", page)
    return {name: re.findall(r"<td>(.*?)</td>", rest) for name, rest in rows}


def test_the_page_says_what_was_measured_found_and_written(tmp_path):
    page = write_map_page(finished(tmp_path), tmp_path).read_text()
    rows = rows_of(page)
    assert rows["measured"] == ["10 x 4 x 12 voxels", "of 1.2 x 6 x 1.2 mm"]
    assert rows["slices"] == ["4 every 6 mm", "5 mm thick, profile gaussian"]
    assert rows["guide"] == ["t2w.nii.gz", "turned by 0 degrees, moved by 0, 0, 2 mm, gain 2 to 2"]
    assert rows["T1"] == ["1200 ms", "120 ms", "10 %"] and rows["T2"] == ["80 ms", "8 ms", "10 %"]
    assert rows["proton density"] == ["0.8", "0.08", "10 %"]
    assert rows["time"] == ["61 s"] and "odd." in page
    for said in ("T2map-std.nii.gz", "standard deviation of the error of T2map", "the protocol FLAIR would show"):
        assert said in page
    assert "pd.nii.gz, t1&lt;.nii.gz, t2.nii.gz" in page and "t1<" not in page
    assert (
        "signal_quality: default" in page and "to first order" in page and "http:" not in page and "https:" not in page
    )


def test_layers_of_a_map_are_of_one_group(tmp_path):
    page = render_map_page(finished(tmp_path))
    layers = re.findall(r'"deviation": (\w+), "group": "([^"]*)".*?"name": "([^"]*)"', page)
    assert [name for _, _, name in layers][3:6] == ["T1 given", "T1", "T1 deviation"] and len(layers) == 9
    assert all(name.startswith(group) for _, group, name in layers)
    assert all((deviation == "true") == name.endswith("deviation") for deviation, _, name in layers)
    assert '"main": "T1"' in page


@pytest.mark.parametrize(("found", "main"), [((True, False, False), "proton density"), ((False, False, True), "T2")])
def test_only_maps_that_were_found_are_shown(tmp_path, found, main):
    page = render_map_page(finished(tmp_path, QmriConfig(t2="t2.nii.gz"), found))
    assert f'"main": "{main}"' in page and page.count('"uri"') == 3


def test_truncation_and_samples_are_told(tmp_path):
    config = QmriConfig(images=["a.nii.gz", "b.nii.gz", "c.nii.gz"], anchored=False)
    sharpened, problem, given = block()
    operator = KSpaceTruncation(SHAPE, (1, 2, 4))
    draws = sharpened.signals.expand(4, *sharpened.signals.shape)
    measured = operator(sharpened.signals)
    problem = replace(problem, operator=operator, measured=measured, axis=2, draws=draws)
    sharpened = replace(sharpened, gains=[])
    values = operator(sharpened.maps.movedim(-1, 0)).clamp(min=0).movedim(0, -1).numpy()
    given = Given(replace(given.maps, values=values), given.found)
    paths = write_maps(sharpened, problem, given, {}, tmp_path)
    report = describe_maps(sharpened, problem, given, [], config, 1.0)
    page = render_map_page(FinishedMaps(sharpened, problem, given, report, paths))
    assert rows_of(page)["k-space cut off"][0] == "1 x 2 x 4"
    assert "of 4 results" in page and "anchored=false" in page and "a.nii.gz, b.nii.gz, c.nii.gz" in page
