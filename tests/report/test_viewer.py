"""The viewer of a page in a real browser: volumes are shown, planes are linked, keys work, nothing is complained of."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from focvs.pipeline import super_resolve
from focvs.report.map_page import write_map_page
from map_results import finished
from runs import reread, settings
from scans import write_thick_scan

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium (pip install 'focvs[dev]')")
BROWSER, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs Chromium and its driver (apt-get install chromium chromium-driver)"
)


@pytest.fixture(scope="module")
def browser():
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1200,1400"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def paths(tmp_path_factory, phantom, tiny_prior):
    folder = tmp_path_factory.mktemp("viewer")
    scan = write_thick_scan(folder / "scan.nii.gz", phantom[1])
    return super_resolve(settings(scan, folder, tiny_prior, "thickness=5", "report=true"))


def opened(browser, page: Path):
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(page.as_uri())
    WebDriverWait(browser, 30).until(
        lambda b: b.execute_script("return document.getElementById('viewer').dataset.ready")
    )
    return browser.find_elements("tag name", "canvas")


def state(browser):
    return browser.execute_script(
        "return {cursor: focvs.state.cursor, layer: focvs.layers[focvs.state.layer].name, mm: focvs.positionMm(),"
        " window: focvs.windowOf(focvs.layers[focvs.state.layer]), names: focvs.layers.map((l) => l.name),"
        " values: focvs.layers.map((l) => l.value(l.codes[focvs.state.cursor.reduce((s, c, a) => s + c *"
        " [l.codes.length / JSON.parse(document.getElementById('volumes').textContent).shape[0],"
        " JSON.parse(document.getElementById('volumes').textContent).shape[2], 1][a], 0)]))}"
    )


def shown(browser, canvas):
    """Pixels of a canvas, red."""
    script = (
        "const c = arguments[0]; const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;"
        " const out = []; for (let i = 0; i < d.length; i += 4 * 97) out.push(d[i]); return out;"
    )
    return np.array(browser.execute_script(script, canvas))


def test_volumes_are_shown_and_nothing_is_complained_of(browser, paths):
    canvases = opened(browser, paths["report"])
    assert [canvas.get_attribute("data-plane") for canvas in canvases] == ["axial", "coronal", "sagittal"]
    for canvas in canvases:
        assert shown(browser, canvas).std() > 20
    assert state(browser)["names"] == ["scan", "B-spline", "FOCVS", "standard deviation", "difference"]
    assert browser.find_element("id", "trouble").text == "" and browser.get_log("browser") == []


def test_the_read_out_is_what_the_files_hold(browser, paths):
    opened(browser, paths["report"])
    import nibabel as nib

    found = state(browser)
    affine = nib.load(paths["mean"]).affine
    voxel = tuple(np.rint(nib.affines.apply_affine(np.linalg.inv(affine), found["mm"])).astype(int))
    mean = reread(paths["mean"])
    assert found["values"][2] == pytest.approx(mean[voxel], abs=0.02 * float(mean.max()))
    std = reread(paths["std"])
    assert found["values"][3] == pytest.approx(std[voxel], abs=0.05 * float(std.max()))
    assert f"{found['mm'][0]:.1f}" in browser.find_element("class name", "readout").text


def test_a_click_moves_all_planes(browser, paths):
    from selenium.webdriver.common.action_chains import ActionChains

    axial, coronal, sagittal = opened(browser, paths["report"])
    before, pictures = state(browser), [shown(browser, canvas) for canvas in (coronal, sagittal)]
    ActionChains(browser).move_to_element_with_offset(axial, 31, -27).click().perform()
    after = state(browser)
    assert after["cursor"][0] > before["cursor"][0] and after["cursor"][1] > before["cursor"][1]
    assert after["cursor"][2] == before["cursor"][2]
    for canvas, picture in zip((coronal, sagittal), pictures, strict=True):
        assert (shown(browser, canvas) != picture).mean() > 0.05


def test_keys_move_choose_and_change_brightness(browser, paths):
    from selenium.webdriver.common.keys import Keys

    axial = opened(browser, paths["report"])[0]
    before = state(browser)
    axial.send_keys(Keys.PAGE_UP, Keys.ARROW_LEFT, Keys.ARROW_UP, Keys.ARROW_UP, "[")
    after = state(browser)
    assert np.subtract(after["cursor"], before["cursor"]).tolist() == [-1, 2, 1]
    assert np.ptp(after["window"]) == pytest.approx(0.9 * np.ptp(before["window"]))
    axial.send_keys("1")
    assert state(browser)["layer"] == "scan"
    axial.send_keys(" ")
    assert state(browser)["layer"] == "FOCVS"
    axial.send_keys("r")
    assert state(browser)["cursor"] == before["cursor"] and state(browser)["window"] == before["window"]


def test_maps_are_shown_each_in_a_window_of_its_own(browser, tmp_path):
    browser.get_log("browser")  # what the tests before it had
    axial = opened(browser, write_map_page(finished(tmp_path), tmp_path))[0]
    found = state(browser)
    assert found["layer"] == "T1" and found["names"][3:6] == ["T1 given", "T1", "T1 deviation"]
    assert len(found["names"]) == 9 and found["values"][4] == pytest.approx(1.2, rel=0.02)
    windows = "return Object.fromEntries(focvs.layers.map((l) => [l.name, [...focvs.windowOf(l)]]))"
    before = browser.execute_script(windows)
    assert before["T2"][1] < 0.3 < 2 < before["T1"][1]
    axial.send_keys("]")
    after = browser.execute_script(windows)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"T1", "T1 given"} and after["T1"] == after["T1 given"]
    axial.send_keys(" ")
    assert state(browser)["layer"] == "T1 given" and browser.get_log("browser") == []
