import nibabel as nib
import numpy as np
import pytest
import torch

from focvs.priors.condition import ScanCondition
from focvs.priors.networks3d import HaarUNet3D, haar3, haar3_inverse
from focvs.priors.own import save_prior
from focvs.priors.pretrained import load_prior
from focvs.training.blocks import VolumePatchDataset
from focvs.training.cache import build_cache, load_cache
from focvs.training.trainer import TrainingPlan, train


def tiny(conditioned=True):
    torch.manual_seed(0)
    return HaarUNet3D(channels=(4, 8), norm_groups=4, conditioned=conditioned)


def test_haar3_is_orthonormal_and_keeps_white_noise_white():
    x = torch.randn(2, 1, 8, 12, 6, dtype=torch.float64)
    assert haar3(x).shape == (2, 8, 4, 6, 3)
    assert torch.allclose(haar3_inverse(haar3(x)), x)
    z = torch.randn(2, 8, 4, 6, 3, dtype=torch.float64)
    assert torch.allclose(haar3(haar3_inverse(z)), z)
    assert float((haar3(x) * z).sum()) == pytest.approx(float((x * haar3_inverse(z)).sum()))
    white = haar3(torch.randn(8, 1, 32, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(torch.cov(white.transpose(0, 1).flatten(1)), torch.eye(8), atol=0.03)


@pytest.mark.parametrize("size", [(8, 8, 8), (9, 14, 5)])
def test_any_size_and_the_scan_matters(size):
    network = tiny().eval()
    x, scan = torch.randn(2, 2, 1, *size)
    four = torch.full((2,), 4.0)
    with torch.no_grad():
        alone = network(x, torch.zeros(2))
        told = network(x, torch.zeros(2), ScanCondition(scan, four, four, 0 * four))
        other = network(x, torch.zeros(2), ScanCondition(scan, four, 2 * four, 0 * four))
    assert alone.shape == x.shape
    # the output layer of MONAI's network starts at zero, so give it weights before comparing
    assert torch.equal(told, alone)
    torch.nn.init.normal_(network.unet.out[-1].conv.weight)
    with torch.no_grad():
        alone = network(x, torch.zeros(2))
        told = network(x, torch.zeros(2), ScanCondition(scan, four, four, 0 * four))
        other = network(x, torch.zeros(2), ScanCondition(scan, four, 2 * four, 0 * four))
    assert not torch.allclose(told, alone)
    assert not torch.allclose(told, other)


def test_a_3d_prior_is_trained_saved_and_loaded(tmp_path, phantom):
    for group, data in (
        ("isotropic", phantom[0]),
        ("labels", np.digitize(phantom[0], [0.05, 0.3, 0.6]).astype(np.int16)),
    ):
        (tmp_path / group).mkdir()
        nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / group / f"{group}_head.nii.gz")
    build_cache(tmp_path, tmp_path / "train.npz")
    volumes = load_cache(tmp_path / "train.npz")
    dataset = VolumePatchDataset(volumes, {"isotropic": 0.5, "labels": 0.5}, size=16, acquisitions=4)
    items = [dataset[i] for i in range(12)]
    assert all(clean.shape == scan.shape == (1, 16, 16, 16) for clean, scan, _, _ in items)
    assert all(torch.equal(a, b) for a, b in zip(items[3], dataset[3], strict=True))
    assert all(torch.isfinite(clean).all() for clean, _, _, _ in items)
    plan = TrainingPlan(steps=2, batch_size=2, warmup_steps=1, decay_steps=0, workers=0, checkpoint_every=2)
    train(tiny(), dataset, plan, tmp_path / "run", save_prior)
    prior = load_prior(tmp_path / "run" / "ema")
    assert (prior.dimensions, prior.conditioned, prior.axes, prior.multiple) == (3, True, "", 4)
    clean, scan, numbers, _ = (part[None] for part in items[0])
    assert prior.denoise(clean, 0.3, ScanCondition(scan, *numbers.unbind(1))).shape == clean.shape
