import json

import numpy as np
import pytest
import torch

from focvs.acquisition.profile import sampled_profile
from focvs.cli import main


def test_the_command_writes_profile_picture_and_json(field_scan, tmp_path, caplog):
    caplog.set_level("INFO")
    assert main(["profile", str(field_scan), str(tmp_path / "out")]) == 0
    report = json.loads((tmp_path / "out" / "scan_profile.json").read_text())
    assert report["fwhm_mm"] == pytest.approx(4.0, rel=0.2)
    low, high = report["interval_mm"]
    assert low < 4.0 < high
    assert (report["declared_mm"], report["declared_by"]) == (4.0, "spacing")
    assert report["fwhm_of_other_shapes_mm"]["rect"] > report["fwhm_mm"]
    written = sampled_profile(torch.from_numpy(np.load(tmp_path / "out" / "scan_profile.npy")))
    assert written.fwhm_mm == pytest.approx(report["fwhm_mm"], rel=0.02)
    assert (tmp_path / "out" / "scan_profile.png").stat().st_size > 10_000
    assert "FWHM" in caplog.text
