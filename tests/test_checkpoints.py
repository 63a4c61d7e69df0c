"""What ships: every prior loads, is small enough, is calibrated and described."""

import pytest
import torch

from focvs.config import checkpoints_dir
from focvs.priors.pretrained import WEIGHTS, load_prior

FOLDERS = sorted(p for p in checkpoints_dir().iterdir() if p.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_shipped_priors(folder):
    assert (folder / WEIGHTS).stat().st_size < 45 * 2**20
    prior = load_prior(folder)
    assert prior.errors is not None
    assert prior.errors.sigmas.min() <= 0.02
    assert prior.errors.sigmas.max() >= 0.8
    # a denoiser's error is below the noise it was given, and grows with it
    rms = prior.errors.variance.mean(1).sqrt()
    assert (rms < prior.errors.sigmas).all()
    assert (rms.diff() > 0).all()
    text = (folder / "README.md").read_text()
    assert "licence" in text
    assert "@@" not in text


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_shipped_priors_denoise_a_head(folder, phantom):
    """On a generated head, never seen in training, the error must fall well below the noise."""
    clean = torch.from_numpy(2 * phantom[0][:, :, 20:40:5] - 1).movedim(-1, 0)[:, None]
    for sigma in (0.1, 0.3):
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
        error = load_prior(folder).denoise(clean + sigma * noise, sigma) - clean
        assert float(error.square().mean().sqrt()) < 0.75 * sigma


def test_there_is_a_default():
    assert [p.name for p in FOLDERS] == ["head2d"]
