"""What a run hands a 3D prior: the block it is calibrated on, and the volume in every turn."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.priors.networks3d import HaarUNet3D
from focvs.priors.own import save_prior
from focvs.priors.volumetric import Orientation
from focvs.reconstruction.self_calibration import FALLBACK, calibrate, middle_block
from focvs.reconstruction.setup import open_prior
from runs import settings, volumetric_prior
from scans import write_scan


def test_the_block_lies_in_the_middle_of_the_head():
    mask = np.zeros((160, 60, 70), bool)
    mask[20:141, 10:50, 5:55] = True
    assert middle_block(mask) == (slice(32, 128), slice(10, 50), slice(5, 55))


def test_only_a_prior_of_fixed_shape_has_to_make_do_with_a_wiener_filter(
    tmp_path, thick_scan, volumetric_bundle, monkeypatch
):
    def fixed(config, device):
        return replace(open_prior(config, device), shape=(64, 64, 64))

    monkeypatch.setattr("focvs.pipeline.open_prior", fixed)
    words = ["prior=monai", "thickness=5", "samples=1", "steps=2"]
    paths = super_resolve(settings(thick_scan, tmp_path, volumetric_bundle, *words))
    assert any("Wiener" in warning for warning in json.loads(paths["json"].read_text())["warnings"])


def test_a_conditioned_3d_prior_is_calibrated_on_the_scan(tmp_path, thick_scan, caplog):
    torch.manual_seed(0)
    save_prior(HaarUNet3D(channels=(8, 8), norm_groups=4, conditioned=True), tmp_path / "prior")
    words = ["prior=head3d", "thickness=5", "samples=1", "steps=2"]
    with caplog.at_level("INFO"):
        paths = super_resolve(settings(thick_scan, tmp_path / "out", tmp_path / "prior", *words))
    assert "error spectrum of the prior from" in caplog.text
    assert "voxels of the interpolated scan" in caplog.text
    report = json.loads(paths["json"].read_text())
    assert report["consistency"]["relative_residual"] <= 1e-5
    assert not any("error spectrum" in warning for warning in report["warnings"])


def calibrated(posed, prior, network):
    case, config = posed
    return calibrate(replace(case, prior=prior), network, torch.tensor([0.6, 0.01]), config)


def test_an_unconditional_3d_prior_is_calibrated_on_the_interpolated_scan_in_its_orientation(posed, tmp_path):
    """At a noise level near zero the network sees the block itself."""
    prior = volumetric_prior(tmp_path / "prior", conditioned=False, axes="RAS", multiple=1)
    seen = []

    def network(x, sigma):
        seen.append(x.clone())  # monai weights what it is given in place
        return x

    table, source = calibrated(posed, prior, network)
    case, _ = posed
    head = case.slices.mask.any(2).nonzero()
    low, high = head.min(0).values, head.max(0).values + 1
    whole = case.acquisition.grid.crop(case.start)[low[0] : high[0], low[1] : high[1]]
    block = Orientation(case.scan.orientation, "RAS").back(seen[0])[0]
    assert block.shape[:2] == whole.shape[:2]
    gaps = [(block - part).abs().max() for part in whole.unfold(2, block.shape[2], 1).movedim(2, 0)]
    assert min(gaps) < 0.06  # of noise of 0.01
    assert "voxels of the interpolated scan" in source
    assert torch.allclose(table.variance[1], torch.tensor(0.36, dtype=torch.float64), rtol=0.2)  # it returns its input


def test_a_conditioned_3d_prior_is_told_of_the_scan_turned_in_plane(posed, tmp_path):
    prior = volumetric_prior(tmp_path / "prior")
    told = []

    def network(x, sigma, scan):
        told.append((tuple(x.shape[2:]), scan))
        return scan.image

    table, _ = calibrated(posed, prior, network)
    assert len(told) == 4  # two levels, two axes
    shapes = [shape for shape, _ in told]
    p, q = (int(n) for n in shapes[0][2:0:-1])
    assert shapes[::2] == [(shapes[0][0], q, p), (p, shapes[0][0], q)]
    pixel_mm = posed[0].scan.in_plane_mm[0]
    assert float(told[0][1].thickness_px) == pytest.approx(5 / pixel_mm)
    assert float(told[0][1].spacing_px) == pytest.approx(6 / pixel_mm)
    # what a scan of these slices leaves out, of all there is: hardly anything well below its Nyquist frequency, bin 6
    power, _ = calibrated(posed, prior, lambda x, sigma, scan: torch.zeros_like(x))
    lost = table.variance[0] / power.variance[0]
    assert lost[2] < 0.1 < 0.5 < lost[10:].min()
    assert torch.equal(table.variance[0], table.variance[1])


@pytest.mark.parametrize("conditioned", [True, False])
def test_a_head_in_few_thin_slices_can_be_calibrated_on(tmp_path, phantom, conditioned):
    slices = simulate_slices(1000 * phantom[1], 1.2, gaussian_profile(2.0), 2.5)[..., 12:17]
    scan = write_scan(tmp_path / "scan.nii.gz", slices, np.diag([1.2, 1.2, 2.5, 1.0]))
    save_prior(HaarUNet3D(channels=(8, 8, 8), norm_groups=4, conditioned=conditioned), tmp_path / "prior")
    words = ["prior=head3d", "thickness=2", "samples=1", "steps=2"]
    paths = super_resolve(settings(scan, tmp_path / "out", tmp_path / "prior", *words))
    assert paths["mean"].is_file()


def test_where_no_block_fits_a_3d_prior_has_a_wiener_filter_or_a_refusal(posed, tmp_path, monkeypatch):
    def too_small(*_, **__):
        raise ValueError("no run of 32 voxels")

    monkeypatch.setattr("focvs.reconstruction.self_calibration.measure_turned_errors", too_small)
    prior = volumetric_prior(tmp_path / "prior")
    assert calibrated(posed, prior, prior.denoise)[1] == FALLBACK
    monkeypatch.setattr("focvs.reconstruction.self_calibration.wiener_errors", too_small)
    with pytest.raises(InputError, match="cannot be calibrated: no run of 32"):
        calibrated(posed, prior, prior.denoise)
