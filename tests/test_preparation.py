"""What a run hands a 3D prior: the block it is calibrated on, and the volume in every turn."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import write_scan
from test_pipeline import settings

from focvs.acquisition.interpolation import interpolation_matrix
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.priors.networks3d import HaarUNet3D
from focvs.priors.pretrained import load_prior, save_prior
from focvs.priors.volumetric import Orientation
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.self_calibration import FALLBACK, calibrate
from focvs.reconstruction.setup import conditioning_numbers, schedule, volume_denoiser
from focvs.scan.scan import read_scan
from focvs.scan.slices import take_slices


@pytest.fixture
def problem(thick_scan, tmp_path):
    """A scan with everything a run knows of it before the prior."""
    config = settings(thick_scan, tmp_path / "out", "unused", "thickness=5", "prior.patch=[64,64,64]")
    scan = read_scan(thick_scan)
    acquisition = model_acquisition(scan, config)
    slices = take_slices(scan, config)
    start = slices.y @ interpolation_matrix(acquisition.sampled).float().T
    assert acquisition.grid.margin > 0
    return SimpleNamespace(config=config, scan=scan, acquisition=acquisition, slices=slices, start=start)


def volumetric_prior(folder, **changes):
    torch.manual_seed(0)
    save_prior(HaarUNet3D(channels=(8, 8), norm_groups=4, conditioned=True), folder)
    return replace(load_prior(folder), **changes)


def calibrated(problem, prior, network):
    return calibrate(
        prior,
        network,
        problem.slices,
        problem.start,
        torch.tensor([0.6, 0.01]),
        problem.scan,
        problem.acquisition,
        problem.config,
        "cpu",
    )


def test_an_unconditional_3d_prior_is_calibrated_on_the_interpolated_scan_in_its_orientation(problem, tmp_path):
    """At a noise level near zero the network sees the block itself."""
    prior = volumetric_prior(tmp_path / "prior", conditioned=False, axes="RAS", multiple=1)
    seen = []

    def network(x, sigma):
        seen.append(x.clone())  # monai weights what it is given in place
        return x

    table, source = calibrated(problem, prior, network)
    head = problem.slices.mask.any(2).nonzero()
    low, high = head.min(0).values, head.max(0).values + 1
    whole = problem.acquisition.grid.crop(problem.start)[low[0] : high[0], low[1] : high[1]]
    block = Orientation(problem.scan.orientation, "RAS").back(seen[0])[0]
    assert block.shape[:2] == whole.shape[:2]
    gaps = [(block - part).abs().max() for part in whole.unfold(2, block.shape[2], 1).movedim(2, 0)]
    assert min(gaps) < 0.06  # of noise of 0.01
    assert "voxels of the interpolated scan" in source
    assert torch.allclose(table.variance[1], torch.tensor(0.36, dtype=torch.float64), rtol=0.2)  # it returns its input


def test_a_conditioned_3d_prior_is_told_of_the_scan_turned_in_plane(problem, tmp_path):
    prior = volumetric_prior(tmp_path / "prior")
    told = []

    def network(x, sigma, scan):
        told.append((tuple(x.shape[2:]), scan))
        return scan.image

    table, _ = calibrated(problem, prior, network)
    assert len(told) == 4  # two levels, two axes
    shapes = [shape for shape, _ in told]
    p, q = (int(n) for n in shapes[0][2:0:-1])
    assert shapes[::2] == [(shapes[0][0], q, p), (p, shapes[0][0], q)]
    pixel_mm = problem.scan.in_plane_mm[0]
    assert float(told[0][1].thickness_px) == pytest.approx(5 / pixel_mm)
    assert float(told[0][1].spacing_px) == pytest.approx(6 / pixel_mm)
    # what a scan of these slices leaves out, of all there is: hardly anything well below its Nyquist frequency, bin 6
    power, _ = calibrated(problem, prior, lambda x, sigma, scan: torch.zeros_like(x))
    lost = table.variance[0] / power.variance[0]
    assert lost[2] < 0.1 < 0.5 < lost[10:].min()
    assert torch.equal(table.variance[0], table.variance[1])


def test_a_3d_prior_of_ours_sees_the_volume_in_every_turn(problem, tmp_path):
    prior = volumetric_prior(tmp_path / "prior")
    sigmas, seen = schedule(problem.config), []

    def network(x, sigma, scan):
        seen.append(x)
        return x

    told = conditioning_numbers(problem.acquisition, 0.0)
    window = slice(0, problem.start.shape[2])
    config = replace(problem.config, prior=replace(problem.config.prior, patch=None))
    denoise = volume_denoiser(prior, network, problem.scan, config, sigmas, window, problem.start, told)
    for sigma in sigmas:
        denoise(problem.start[None], float(sigma))
    assert seen[0].shape[2:4] == seen[1].shape[3:1:-1]
    assert seen[0].shape[2] != seen[0].shape[3]


@pytest.mark.parametrize("conditioned", [True, False])
def test_a_head_in_few_thin_slices_can_be_calibrated_on(tmp_path, phantom, conditioned):
    slices = simulate_slices(1000 * phantom[1], 1.2, gaussian_profile(2.0), 2.5)[..., 12:17]
    scan = write_scan(tmp_path / "scan.nii.gz", slices, np.diag([1.2, 1.2, 2.5, 1.0]))
    save_prior(HaarUNet3D(channels=(8, 8, 8), norm_groups=4, conditioned=conditioned), tmp_path / "prior")
    words = ["prior=head3d", "thickness=2", "samples=1", "steps=2"]
    paths = super_resolve(settings(scan, tmp_path / "out", tmp_path / "prior", *words))
    assert paths["mean"].is_file()


def test_where_no_block_fits_a_3d_prior_has_a_wiener_filter_or_a_refusal(problem, tmp_path, monkeypatch):
    def too_small(*_, **__):
        raise ValueError("no run of 32 voxels")

    monkeypatch.setattr("focvs.reconstruction.self_calibration.measure_turned_errors", too_small)
    prior = volumetric_prior(tmp_path / "prior")
    assert calibrated(problem, prior, prior.denoise)[1] == FALLBACK
    monkeypatch.setattr("focvs.reconstruction.self_calibration.wiener_errors", too_small)
    with pytest.raises(InputError, match="cannot be calibrated: no run of 32"):
        calibrated(problem, prior, prior.denoise)
