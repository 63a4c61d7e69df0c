"""The JSON of a run says what is true of the written file, in plain JSON."""

import json

import numpy as np
import pytest

from focvs.pipeline import super_resolve
from focvs.report.run_report import plain
from focvs.run_config import Planes
from focvs.scan.scan import read_scan
from runs import reread, settings

KEYS = {
    *("version", "config", "method", "prior", "acquisition", "noise_intensity", "consistency", "interval", "samples"),
    *("seed", "device", "seconds", "peak_memory_mib", "warnings", "stacks", "precision", "evaluations", "scan_sha256"),
    *("guide", "voxels_sha256"),
}


@pytest.mark.parametrize("method", ["spline", "focvs"])
def test_every_key_is_there_for_every_method(tmp_path, thick_scan, tiny_prior, method):
    words = ["thickness=5", f"method={method}", "samples=1", "steps=1"]
    paths = super_resolve(settings(thick_scan, tmp_path, tiny_prior, *words))

    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    report = json.loads(paths["json"].read_text(), parse_constant=refuse)
    assert set(report) == KEYS
    assert (report["prior"] is None) == (method == "spline")
    assert report["acquisition"]["gap_mm"] == pytest.approx(1)
    scan = read_scan(thick_scan)
    assert report["acquisition"]["slices"] == scan.data.shape[2]
    assert report["acquisition"]["voxels"] == reread(paths["mean"]).shape[2]
    assert report["stacks"] == []


def test_enumerations_become_their_values():
    assert plain({"planes": Planes.average, "inner": {"deep": Planes.coronal}, "number": 3}) == {
        "planes": "average",
        "inner": {"deep": "coronal"},
        "number": 3,
    }


def test_sheared_and_silent_scans_have_no_nan(tmp_path, phantom, tiny_prior):
    """Without noise chi2 has no meaning, and none is written."""
    from scans import write_scan

    slices = np.zeros((40, 40, 10), np.float32)
    slices[8:32, 8:32] = 500
    scan = write_scan(tmp_path / "scan.nii.gz", slices, np.diag([1.2, 1.2, 6.0, 1.0]))
    paths = super_resolve(settings(scan, tmp_path, tiny_prior, "method=spline", "noise=0"))
    assert json.loads(paths["json"].read_text())["consistency"]["chi2"] is None
