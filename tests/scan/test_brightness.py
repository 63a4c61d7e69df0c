import json

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.commands.overrides import compose, quote
from focvs.commands.scores import measure_estimates
from focvs.pipeline import super_resolve
from focvs.scan.brightness import balance_slices
from focvs.scan.scan import read_scan
from runs import reread, settings
from scans import write_scan

AFFINE = np.diag([1.0, 1.0, 4.0, 1.0])


@pytest.fixture(scope="module")
def slices():
    return simulate_slices(1000 * head_phantom((80, 92, 100), seed=2)[1], 1.0, gaussian_profile(4.0), 4.0)


def test_gains_of_both_kinds_are_taken_together(tmp_path, slices):
    rng, count = np.random.default_rng(1), slices.shape[-1]
    logs = 0.06 * rng.standard_normal(count) + 0.1 * (np.arange(count) % 2)
    scan = read_scan(write_scan(tmp_path / "scan.nii.gz", (slices * np.exp(logs)).astype(np.float32), AFFINE))
    balanced = balance_slices(scan, "auto")
    assert np.allclose(balanced.data * balanced.gains, scan.data, rtol=1e-5)
    assert ["every second slice" in w for w in balanced.warnings] == [True, False]
    assert "slice by slice" in balanced.warnings[1] and "slice_gains=off" in balanced.warnings[1]
    assert balance_slices(scan, "off") is scan


def test_the_result_reproduces_the_scan_up_to_its_gains(tmp_path, slices, tiny_prior):
    rng = np.random.default_rng(2)
    uneven = (slices * np.exp(0.06 * rng.standard_normal(slices.shape[-1]))).astype(np.float32)
    path = write_scan(tmp_path / "scan.nii.gz", uneven, AFFINE)
    reports = {}
    for word in ("auto", "off"):
        paths = super_resolve(settings(path, tmp_path / word, tiny_prior, f"slice_gains={word}", "samples=1"))
        reports[word] = json.loads(paths["json"].read_text())
        assert reports[word]["consistency"]["relative_residual"] < 1e-5
    assert reports["off"]["acquisition"]["slice_gains"] is None
    estimate = tmp_path / "auto" / "scan_focvs.nii.gz"
    words = [f"truth={quote(str(estimate))}", f"estimates=[{quote(str(estimate))}]", f"scan={quote(str(path))}"]
    (row,), _ = measure_estimates(OmegaConf.to_object(compose("evaluate", [*words, "profile=gaussian"])))
    assert row["residual"] < 1e-5  # the same gains, found again
    gains = np.array(reports["auto"]["acquisition"]["slice_gains"])
    volume = reread(tmp_path / "auto" / "scan_focvs.nii.gz")
    profile = gaussian_profile(reports["auto"]["acquisition"]["thickness_mm"])
    grid = make_grid(len(gains), 4.0, 1.0, profile.half_support_mm)
    again = ThroughPlaneOperator(profile, grid, "edge")(torch.from_numpy(volume).double()).numpy()
    assert np.abs(again * gains - uneven).max() < 1e-3 * np.ptp(uneven)


@pytest.mark.parametrize("kind", ["passes", "each"])
def test_differences_that_no_scanner_makes_are_left_in(tmp_path, slices, kind):
    count = slices.shape[-1]
    factors = 2.5 ** (np.arange(count) % 2) if kind == "passes" else 3.0 ** ((np.arange(count) // 2) % 2)
    scan = read_scan(write_scan(tmp_path / "scan.nii.gz", (slices * factors).astype(np.float32), AFFINE))
    found = balance_slices(scan, "auto")
    assert found.gains is None or max(found.gains.max(), 1 / found.gains.min()) <= 2
    assert any("which no scanner makes" in warning for warning in found.warnings)
