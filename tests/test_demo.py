"""The demonstration with the shipped prior, small and short."""

import json

import pytest

from focvs.commands.demo import run_demo
from focvs.config import DemoConfig
from focvs.errors import InputError


def test_demo_writes_everything_and_beats_the_spline(tmp_path):
    scores = run_demo(DemoConfig(output_dir=str(tmp_path / "demo"), samples=1, steps=3))
    names = {p.name for p in (tmp_path / "demo").iterdir()}
    assert {"phantom.nii.gz", "scan.nii.gz", "scan.json", "scan_focvs.nii.gz", "scan_focvs-std.nii.gz"} <= names
    assert {"scan_focvs.png", "scan_focvs.json", "scores.json"} <= names
    assert json.loads((tmp_path / "demo" / "scores.json").read_text()).keys() == scores.keys()
    assert scores["FOCVS PSNR dB"] > scores["B-spline PSNR dB"]
    report = json.loads((tmp_path / "demo" / "scan_focvs.json").read_text())
    assert report["consistency"]["relative_residual"] <= 1e-5
    assert report["acquisition"]["gap_mm"] == 1


def test_awkward_spacings_still_fit_and_impossible_ones_are_refused(tmp_path):
    scores = run_demo(DemoConfig(output_dir=str(tmp_path / "demo"), samples=1, steps=1, spacing=11.3, thickness=9))
    assert scores["FOCVS SSIM"] > 0.3
    for wrong in ({"spacing": 0.0}, {"seed": -1}, {"samples": 0}):
        with pytest.raises(InputError, match="at least 1"):
            run_demo(DemoConfig(output_dir=str(tmp_path / "none"), **wrong))
    assert not (tmp_path / "none").exists()
