"""The demonstration with the shipped prior, small and short."""

import json

import nibabel as nib
import pytest

from focvs.commands.demo import generate, run_demo
from focvs.config import DemoConfig
from focvs.errors import InputError

# of the maps of the shipped mean
ENDINGS = [f"-{name}.nii.gz" for name in ("std", "nullstd", "q05", "q95")]


def test_demo_writes_everything_and_beats_the_spline(tmp_path):
    scores = run_demo(DemoConfig(output_dir=str(tmp_path / "demo")))
    names = {p.name for p in (tmp_path / "demo").iterdir()}
    assert names == {"phantom.nii.gz", "scan.nii.gz", "scan.json", "scores.json"} | {
        f"scan_focvs{ending}" for ending in (*ENDINGS, ".nii.gz", ".png", ".json", ".html")
    }
    assert json.loads((tmp_path / "demo" / "scores.json").read_text()).keys() == scores.keys()
    assert scores["FOCVS PSNR dB"] > scores["B-spline PSNR dB"]
    report = json.loads((tmp_path / "demo" / "scan_focvs.json").read_text())
    assert report["consistency"]["relative_residual"] <= 1e-5
    assert report["acquisition"]["gap_mm"] == 1


@pytest.mark.parametrize("spacing", [11.3, 6.0, 2.5])
def test_slices_and_voxels_of_any_spacing_fill_one_field_of_view(tmp_path, spacing):
    phantom = generate(DemoConfig(spacing=spacing, thickness=2.0), tmp_path)
    scan = nib.load(phantom.scan)
    assert scan.shape[2] * spacing == pytest.approx(phantom.truth.shape[2] * phantom.voxel_mm)
    assert phantom.voxel_mm == pytest.approx(1.2, rel=0.05)


@pytest.mark.parametrize("wrong", [{"spacing": 0.0}, {"seed": -1}])
def test_impossible_phantoms_are_refused(tmp_path, wrong):
    with pytest.raises(InputError, match="at least 0"):
        run_demo(DemoConfig(output_dir=str(tmp_path / "none"), **wrong))
    assert not (tmp_path / "none").exists()
