"""The demonstration with the shipped prior."""

import json

import nibabel as nib
import pytest

from focvs.commands.demo import EXAMPLES, FIELD, generate, run_demo
from focvs.config import DemoConfig
from focvs.errors import InputError

# of the maps of the shipped mean
ENDINGS = [f"-{name}.nii.gz" for name in ("std", "nullstd", "q05", "q95")]


@pytest.mark.slow
def test_demo_writes_everything_and_beats_the_spline(tmp_path, monkeypatch):
    monkeypatch.setattr("focvs.commands.demo.HEIGHT_MM", 48.0)  # the top of the head
    monkeypatch.setitem(FIELD, "phantom", (64, 76))
    scores = run_demo(DemoConfig(output_dir=str(tmp_path / "demo"), spacing=8.0, contrast="T2w"))
    assert {p.name for p in (tmp_path / "demo").iterdir()} == {*EXAMPLES, "comparison.png", "scores.json"}
    assert json.loads((tmp_path / "demo" / "scores.json").read_text()).keys() == scores.keys() == EXAMPLES.keys()
    for name, quality in EXAMPLES.items():
        assert {p.name for p in (tmp_path / "demo" / name).iterdir()} == {
            "truth.nii.gz",
            "scan.nii.gz",
            "scan.json",
        } | {f"scan_focvs{ending}" for ending in (*ENDINGS, ".nii.gz", ".png", ".json", ".html")}
        assert scores[name]["FOCVS PSNR dB"] > scores[name]["B-spline PSNR dB"] + (2 if name == "head" else 0)
        assert scores[name]["FOCVS SSIM"] > scores[name]["B-spline SSIM"]
        report = json.loads((tmp_path / "demo" / name / "scan_focvs.json").read_text())
        assert report["consistency"]["relative_residual"] <= 1e-5
        assert report["acquisition"]["gap_mm"] == 3
        assert report["config"]["quality"] == quality


@pytest.mark.parametrize("spacing", [11.3, 6.0, 2.5])
def test_slices_and_voxels_of_any_spacing_fill_one_field_of_view(tmp_path, spacing):
    phantom = generate(DemoConfig(spacing=spacing, thickness=2.0), tmp_path, "phantom")
    scan = nib.load(phantom.scan)
    assert scan.shape[2] * spacing == pytest.approx(phantom.truth.shape[2] * phantom.voxel_mm)
    assert phantom.voxel_mm == pytest.approx(1.2, rel=0.05)


@pytest.mark.parametrize("wrong", [{"spacing": 0.0}, {"seed": -1}, {"contrast": "PDw"}])
def test_impossible_heads_are_refused(tmp_path, wrong):
    with pytest.raises(InputError, match=r"at least 0|one of T1w, T2w, FLAIR"):
        run_demo(DemoConfig(output_dir=str(tmp_path / "none"), **wrong))
    assert not (tmp_path / "none").exists()
