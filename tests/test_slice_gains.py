"""Slices that are brighter or darker than the others say."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import write_scan
from test_pipeline import reread, settings

from focvs.acquisition.grid import make_grid
from focvs.acquisition.interleaving import pass_difference
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import head_phantom, simulate_slices
from focvs.acquisition.slice_gains import predicting_weights, slice_gains
from focvs.pipeline import super_resolve
from focvs.slices import balance_slices, bright_head
from focvs.volume import read_scan

AFFINE = np.diag([1.0, 1.0, 4.0, 1.0])


@pytest.fixture(scope="module")
def slices():
    return simulate_slices(1000 * head_phantom((80, 92, 100), seed=2)[1], 1.0, gaussian_profile(4.0), 4.0)


@pytest.fixture(scope="module")
def operator(slices):
    return make_operator(slices.shape[-1])


def make_operator(count, spacing_mm=4.0):
    profile = gaussian_profile(4.0)
    return ThroughPlaneOperator(profile, make_grid(count, spacing_mm, 1.0, profile.half_support_mm))


@pytest.mark.parametrize("spacing_mm", [2.5, 4.0, 5.2])
def test_a_slice_is_predicted_by_the_volume_fitted_to_the_others(spacing_mm):
    """The closed form is the fit without that slice; a slice has no say in itself, and a ramp is predicted."""
    operator = make_operator(9, spacing_mm)
    weights = predicting_weights(operator)
    y = torch.randn(9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for i in (0, 4, 7):
        kept = [j for j in range(9) if j != i]
        a = operator.matrix.double()
        d = torch.diff(torch.eye(a.shape[1], dtype=torch.float64), n=2, dim=0)
        x = torch.linalg.solve(a[kept].T @ a[kept] + d.T @ d, a[kept].T @ y[kept])
        assert float(weights[i] @ y) == pytest.approx(float(a[i] @ x), rel=1e-6)
    assert float(weights.diagonal().abs().max()) == 0
    ramp = operator.matrix.double() @ torch.arange(operator.matrix.shape[1], dtype=torch.float64)
    assert torch.allclose(weights @ ramp, ramp, atol=1e-6)


def test_gains_of_single_slices_are_found(slices, operator):
    rng = np.random.default_rng(0)
    logs = 0.05 * rng.standard_normal(slices.shape[-1])
    found = slice_gains(torch.from_numpy(slices * np.exp(logs)), torch.from_numpy(slices > 150), operator)
    assert found.clear

    def rough(values):  # what neighbours can tell
        return np.diff(values, 2)[5:-5]

    left = rough(logs - found.log_gains.numpy())
    assert np.sqrt(np.mean(left**2)) < 0.5 * np.sqrt(np.mean(rough(logs) ** 2))


def test_one_bright_slice_is_found_and_its_neighbours_are_not_blamed(slices, operator):
    logs = np.zeros(slices.shape[-1])
    logs[::2] += 0.03  # so that there is something to tell
    logs[12] += 0.1
    found = slice_gains(torch.from_numpy(slices * np.exp(logs)), torch.from_numpy(slices > 150), operator)
    off = (found.log_gains.numpy() - logs)[8:17]
    assert np.abs(off - off.mean()).max() < 0.05  # of a step of 0.13


def test_an_even_scan_is_left_alone(tmp_path, slices, operator):
    scan = read_scan(write_scan(tmp_path / "scan.nii.gz", slices, AFFINE))
    assert balance_slices(scan, operator, "auto") is scan
    found = slice_gains(torch.from_numpy(scan.data), bright_head(scan), operator)
    assert not found.clear and found.spread < 2.5 * found.anatomy
    few = torch.from_numpy(slices[..., 8:16])
    assert slice_gains(few, few > 150, make_operator(8)) is None


def test_gains_of_both_kinds_are_taken_together(tmp_path, slices, operator):
    rng = np.random.default_rng(1)
    logs = 0.06 * rng.standard_normal(slices.shape[-1])
    scan = read_scan(write_scan(tmp_path / "scan.nii.gz", (slices * np.exp(logs)).astype(np.float32), AFFINE))
    passes = np.linspace(0.9, 1.1, slices.shape[-1])
    balanced = balance_slices(replace(scan, gains=passes), operator, "auto")
    assert np.allclose(balanced.data * (balanced.gains / passes), scan.data, rtol=1e-5)
    assert "slice by slice" in balanced.warnings[-1] and "slice_gains=off" in balanced.warnings[-1]
    assert balance_slices(scan, operator, "off") is scan


def test_passes_are_found_where_anatomy_bends(slices):
    """Brightness that curves along the scan: every slice is above its neighbours, every second one more so."""
    depth = np.arange(30) - 15
    scan = torch.from_numpy(np.ones((30, 30, 30)) * np.exp(-0.01 * depth**2 + 0.02 * (depth % 2)))
    found = pass_difference(scan, scan > 0)
    assert found.log_ratio == pytest.approx(-0.02, abs=0.002)
    assert found.significance > 10


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
    gains = np.array(reports["auto"]["acquisition"]["slice_gains"])
    volume = reread(tmp_path / "auto" / "scan_focvs.nii.gz")
    profile = gaussian_profile(reports["auto"]["acquisition"]["thickness_mm"])
    grid = make_grid(len(gains), 4.0, 1.0, profile.half_support_mm)
    again = ThroughPlaneOperator(profile, grid, "edge")(torch.from_numpy(volume).double()).numpy()
    assert np.abs(again * gains - uneven).max() < 1e-3 * np.ptp(uneven)
