"""Passes of an interleaved scan that differ in brightness."""

import json

import numpy as np
import pytest
import torch

from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.scan.brightness import balance_odd_even
from focvs.scan.interleaving import OddEvenDifference, odd_even_difference
from focvs.scan.scan import read_scan
from runs import reread, settings
from scans import write_scan

AFFINE = np.diag([1.0, 1.0, 4.0, 1.0])


@pytest.fixture(scope="module")
def slices():
    return simulate_slices(1000 * head_phantom((80, 92, 80), seed=2)[1], 1.0, gaussian_profile(4.0), 4.0)


@pytest.mark.parametrize("log_ratio", [0.05, -0.08])
def test_the_difference_of_the_passes_is_found(slices, log_ratio):
    gains = OddEvenDifference(log_ratio, 0.01).gains(slices.shape[-1]).numpy()
    assert np.log(gains[1] / gains[0]) == pytest.approx(log_ratio)
    scan = torch.from_numpy((slices * gains).astype(np.float32))
    found = odd_even_difference(scan, scan > 150)
    assert found.log_ratio == pytest.approx(log_ratio, abs=3 * found.error)
    assert found.log_ratio == pytest.approx(log_ratio, abs=0.02)


def test_slices_of_random_brightness_are_no_passes():
    """2 % of jitter from slice to slice and nothing else: the standard error is that of the log ratio."""
    rng, scores = np.random.default_rng(0), []
    head = torch.ones(24, 24, 30)
    for _ in range(150):
        gains = torch.from_numpy(np.exp(rng.normal(0, 0.02, 30)))
        found = odd_even_difference(head * gains, head > 0)
        scores.append(found.log_ratio / found.error)
    assert 0.7 < np.std(scores) < 1.4
    assert np.mean(np.abs(scores) > 3) < 0.04


def test_a_scan_without_it_is_left_alone(tmp_path, slices):
    scan = read_scan(write_scan(tmp_path / "scan.nii.gz", slices, AFFINE))
    assert balance_odd_even(scan, "auto") is scan
    assert odd_even_difference(torch.from_numpy(slices[..., :6]), torch.from_numpy(slices[..., :6] > 150)) is None
    with pytest.raises(InputError, match="choose auto or off"):
        balance_odd_even(scan, "on")


def test_it_is_divided_out_said_and_can_be_left_in(tmp_path, slices, tiny_prior):
    gains = OddEvenDifference(-0.12, 0.01).gains(slices.shape[-1]).numpy()
    path = write_scan(tmp_path / "scan.nii.gz", (slices * gains).astype(np.float32), AFFINE)
    clean, striped = slices, read_scan(path)
    balanced = balance_odd_even(striped, "auto")
    assert "every second slice is" in balanced.warnings[-1] and "darker" in balanced.warnings[-1]
    error = [np.abs(data - clean).mean() for data in (balanced.data, striped.data)]
    assert error[0] < 0.35 * error[1]
    assert np.allclose(balanced.data * balanced.gains, striped.data, rtol=1e-5)
    reports = []
    for word in ("auto", "off"):
        paths = super_resolve(settings(path, tmp_path / word, tiny_prior, f"slice_gains={word}", "samples=1"))
        reports.append(json.loads(paths["json"].read_text()))
        assert reports[-1]["consistency"]["relative_residual"] < 1e-5
    assert len(reports[0]["acquisition"]["slice_gains"]) == slices.shape[-1]
    assert reports[1]["acquisition"]["slice_gains"] is None
    auto, off = (reread(tmp_path / word / "scan_focvs.nii.gz") for word in ("auto", "off"))
    assert not np.allclose(auto, off, atol=1)
