"""Slices that are brighter or darker than the others say."""

import numpy as np
import pytest
import torch

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.scan.brightness import balance_slices, bright_head
from focvs.scan.interleaving import odd_even_difference
from focvs.scan.scan import read_scan
from focvs.scan.slice_gains import predicting_weights, slice_gains
from scans import write_scan

AFFINE = np.diag([1.0, 1.0, 4.0, 1.0])


@pytest.fixture(scope="module")
def slices():
    return simulate_slices(1000 * head_phantom((80, 92, 100), seed=2)[1], 1.0, gaussian_profile(4.0), 4.0)


@pytest.mark.parametrize("kept", [range(9), [0, 1, 2, 4, 5, 6, 8]])
def test_a_slice_is_predicted_by_the_volume_fitted_to_the_others(kept):
    """The closed form is the fit without that slice; a slice has no say in itself, and a ramp is predicted."""
    weights = predicting_weights(9, torch.tensor(list(kept)))
    profile = gaussian_profile(4.0)
    grid = make_grid(9, 4.0, 1.0, profile.half_support_mm)
    a = ThroughPlaneOperator(profile, grid).matrix.double()[list(kept)]
    d = torch.diff(torch.eye(a.shape[1], dtype=torch.float64), n=2, dim=0)
    y = torch.randn(len(kept), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for i in (0, 4, len(kept) - 1):
        others = [j for j in range(len(kept)) if j != i]
        x = torch.linalg.solve(a[others].T @ a[others] + d.T @ d, a[others].T @ y[others])
        assert float(weights[i] @ y) == pytest.approx(float(a[i] @ x), rel=1e-6)
    assert float(weights.diagonal().abs().max()) == 0
    ramp = a @ torch.arange(a.shape[1], dtype=torch.float64)
    assert torch.allclose(weights @ ramp, ramp, atol=1e-6)


def test_gains_of_single_slices_are_found(slices):
    rng = np.random.default_rng(0)
    logs = 0.05 * rng.standard_normal(slices.shape[-1])
    found = slice_gains(torch.from_numpy(slices * np.exp(logs)), torch.from_numpy(slices > 150), 4.0)
    assert found.clear

    def rough(values):  # what neighbours can tell
        return np.diff(values, 2)[5:-5]

    left = rough(logs - found.log_gains.numpy())
    assert np.sqrt(np.mean(left**2)) < 0.5 * np.sqrt(np.mean(rough(logs) ** 2))


def test_one_bright_slice_is_found_and_its_neighbours_are_not_blamed(slices):
    logs = np.zeros(slices.shape[-1])
    logs[::2] += 0.03  # so that there is something to tell
    logs[12] += 0.1
    found = slice_gains(torch.from_numpy(slices * np.exp(logs)), torch.from_numpy(slices > 150), 4.0)
    off = (found.log_gains.numpy() - logs)[8:17]
    assert np.abs(off - off.mean()).max() < 0.05  # of a step of 0.13


@pytest.mark.parametrize("every", [3, 4])
def test_packages_of_more_than_two_passes_are_found(slices, every):
    logs = 0.1 * (np.arange(slices.shape[-1]) % every == 0)
    found = slice_gains(torch.from_numpy(slices * np.exp(logs)), torch.from_numpy(slices > 150), 4.0)
    assert found.clear
    left = np.diff(logs - found.log_gains.numpy(), 2)[5:-5]
    assert np.sqrt(np.mean(left**2)) < 0.5 * np.sqrt(np.mean(np.diff(logs, 2)[5:-5] ** 2))


def test_an_empty_slice_has_no_say(slices):
    logs = 0.05 * np.random.default_rng(0).standard_normal(slices.shape[-1])
    uneven = slices * np.exp(logs)
    found = []
    for data in (uneven, uneven * (np.arange(slices.shape[-1]) != 12)):
        data = torch.from_numpy(data)
        found.append(slice_gains(data, data > 150, 4.0).log_gains.numpy())
    assert found[1][12] == 0
    beside = np.r_[8:12, 13:17]
    assert np.abs(found[1] - found[0])[beside].max() < 0.05


def test_an_even_scan_is_left_alone(tmp_path, slices):
    scan = read_scan(write_scan(tmp_path / "scan.nii.gz", slices, AFFINE))
    assert balance_slices(scan, "auto") is scan
    found = slice_gains(torch.from_numpy(scan.data), bright_head(scan), 4.0)
    assert not found.clear and found.spread < 2.5 * found.anatomy
    few = torch.from_numpy(slices[..., 8:16])
    assert slice_gains(few, few > 150, 4.0) is None


def test_passes_are_found_where_anatomy_bends(slices):
    """Brightness that curves along the scan: every slice is above its neighbours, every second one more so."""
    depth = np.arange(30) - 15
    scan = torch.from_numpy(np.ones((30, 30, 30)) * np.exp(-0.01 * depth**2 + 0.02 * (depth % 2)))
    found = odd_even_difference(scan, scan > 0)
    assert found.log_ratio == pytest.approx(-0.02, abs=0.002)
    assert found.significance > 10
