"""What ships: weights load, are small enough and described; diffusion priors are calibrated, means better the scan."""

import pytest
import torch

from focvs.acquisition.grid import make_grid
from focvs.acquisition.interpolation import interpolation_matrix
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.config import checkpoints_dir
from focvs.priors.mean import mean_of_planes
from focvs.priors.pretrained import load_prior
from focvs.priors.weights import WEIGHTS

FOLDERS = sorted(p for p in checkpoints_dir().iterdir() if p.is_dir())
MEANS = [p for p in FOLDERS if p.name.startswith("mean")]
PRIORS = [p for p in FOLDERS if p not in MEANS]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_weights_are_small_and_described(folder):
    assert (folder / WEIGHTS).stat().st_size < 45 * 2**20
    text = (folder / "README.md").read_text()
    assert "licence" in text
    assert "@@" not in text


@pytest.mark.parametrize("folder", PRIORS, ids=lambda p: p.name)
def test_shipped_priors(folder):
    prior = load_prior(folder)
    assert prior.errors is not None
    assert prior.errors.sigmas.min() <= 0.02
    assert prior.errors.sigmas.max() >= 0.8
    # a denoiser's error is below the noise it was given, and grows with it
    rms = prior.errors.variance.mean(1).sqrt()
    assert (rms < prior.errors.sigmas).all()
    assert (rms.diff() > 0).all()


@pytest.mark.parametrize("folder", PRIORS, ids=lambda p: p.name)
def test_shipped_priors_denoise_a_head(folder, phantom):
    """On a generated head, never seen in training, the error must fall well below the noise."""
    clean = torch.from_numpy(2 * phantom[0][:, :, 20:40:5] - 1).movedim(-1, 0)[:, None]
    for sigma in (0.1, 0.3):
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        error = load_prior(folder).denoise(clean + sigma * noise, sigma) - clean
        assert float(error.square().mean().sqrt()) < 0.75 * sigma


@pytest.mark.parametrize("folder", MEANS, ids=lambda p: p.name)
def test_shipped_means_better_the_interpolated_scan(folder, phantom):
    """On a generated head, never seen in training."""
    truth, profile = phantom[0], gaussian_profile(4.0)
    scan = simulate_slices(truth, 1.0, profile, 4.0)
    grid = make_grid(scan.shape[-1], 4.0, 1.0, profile.half_support_mm, keep_extent=False)
    operator = ThroughPlaneOperator(profile, grid, "edge")
    y, clean = (2 * torch.from_numpy(image).float() - 1 for image in (scan, truth))
    start = y @ interpolation_matrix(operator).float().T
    with torch.inference_mode():
        mean = operator.replace(mean_of_planes(load_prior(folder).denoise, start, start).double(), y.double())
    before, after = (float((image - clean).square().mean()) for image in (start, mean))
    assert after < 0.9 * before


def test_there_is_a_default():
    assert [p.name for p in PRIORS] == ["head2d", "unconditional2d"]
