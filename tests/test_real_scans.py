"""Real scans from FOCVS_DATA: read, model, interpolate and replace; the shipped prior on a piece of a head."""

import json

import numpy as np
import torch
from omegaconf import OmegaConf

from focvs.acquisition.interpolation import spline_matrix
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.commands.overrides import compose, quote
from focvs.evaluation.metrics import peak_signal_to_noise
from focvs.pipeline import super_resolve
from focvs.reconstruction.forward_model import model_acquisition
from focvs.run_config import RunConfig
from focvs.scan.nifti import read_nifti
from focvs.scan.scan import read_scan
from focvs.scan.slices import find_region
from focvs.scan.units import white_level
from scans import write_scan


def test_clinical_scans_are_understood(data_dir):
    paths = sorted((data_dir / "eval" / "thick").glob("*.nii.gz"))
    assert len(paths) > 5
    config: RunConfig = OmegaConf.to_object(compose("config", ["scan=x"]))
    for path in paths:
        scan = read_scan(path)
        assert scan.slice_direction == "inferior-superior", path
        region = find_region(scan)
        extent_mm = [(s.stop - s.start) * mm for s, mm in zip(region.crop, scan.in_plane_mm, strict=True)]
        assert all(120 < e < 275 for e in extent_mm), (path, extent_mm)
        assert 0.3 < region.mask.mean() <= 1, path
        acquisition = model_acquisition(scan, config)
        assert acquisition.written.condition_number < 2
        y = torch.from_numpy(scan.data[::16]).double()
        volume = acquisition.written.replace(y @ spline_matrix(acquisition.grid, margins=False).T, y)
        assert float((acquisition.written(volume) - y).abs().max()) <= 1e-9 * np.ptp(scan.data)


def test_the_shipped_prior_beats_interpolation_on_a_real_head(tmp_path, data_dir):
    """A piece of a training-side head that was kept out of training; 4 mm slices."""
    data, _, _, _ = read_nifti(data_dir / "train" / "isotropic" / "uih2_T1w.nii.gz")
    truth = data[68:92, 80:144, 140:220]
    slices = simulate_slices(truth, 1.0, gaussian_profile(4.0), 4.0)
    scan_path = write_scan(tmp_path / "scan.nii.gz", slices, np.diag([1.0, 1.0, 4.0, 1.0]))
    words = [f"scan={quote(str(scan_path))}", "figure=false", "report=false", "voxel=1"]
    paths = super_resolve(OmegaConf.to_object(compose("config", words)))
    scan = read_scan(scan_path)
    written = model_acquisition(scan, OmegaConf.to_object(compose("config", words))).written
    y = torch.from_numpy(scan.data).double()
    spline = y @ spline_matrix(written.grid, margins=False).T
    mask, scale = np.ones(truth.shape, bool), white_level(truth)
    ours = peak_signal_to_noise(truth, read_nifti(paths["mean"])[0], mask, scale)
    plain = peak_signal_to_noise(truth, spline.numpy(), mask, scale)
    replaced = peak_signal_to_noise(truth, written.replace(spline, y).numpy(), mask, scale)
    assert replaced > plain
    assert ours > replaced
    report = json.loads(paths["json"].read_text())
    assert report["consistency"]["relative_residual"] <= 1e-5
    # slices of a noisy head are quieter than its voxels, so that the mean may fit them far below the noise
    assert 0.01 < report["consistency"]["chi2_before_last_replacement"] < 5
