"""Our folders: a mean with its stages and its deviation, whole or refused."""

import shutil

import pytest
import torch

from focvs.errors import PriorError
from focvs.priors.condition import ScanCondition, ScanNumbers, middle
from focvs.priors.denoiser import EDMDenoiser
from focvs.priors.diffusion_network import DiffusionUNet2D
from focvs.priors.own import save_prior
from focvs.priors.pretrained import load_prior
from focvs.priors.residual_network import ResidualDenoiser
from focvs.priors.weights import WEIGHTS
from runs import guided_prior, mean_prior

NUMBERS = ScanNumbers(4.0, 4.0, 0.0)


def test_a_mean_comes_with_its_stages_and_its_deviation(tmp_path):
    *networks, residual = mean_prior(tmp_path / "mean")
    prior = load_prior(tmp_path / "mean")
    assert not prior.samples and prior.conditioned and prior.mirrored and prior.slab == 5
    assert prior.voxel_range_mm == (0.59, 1.4) and len(prior.stages) == 1
    scan, mean = torch.randn(2, 5, 16, 16), torch.randn(2, 5, 16, 16)
    told = ScanCondition.of(scan, NUMBERS)
    with torch.no_grad():
        first, second, deviation = (n(torch.cat([scan, mean], 1)[:, : 5 * n.images]) for n in networks)
    assert torch.allclose(prior.denoise(mean, 3.0, told), first, atol=1e-5)
    assert torch.equal(prior.denoise(0 * mean, 0.1, told), prior.denoise(mean, 3.0, told))  # hears of the scan alone
    assert torch.allclose(prior.stages[0](mean, 3.0, told), second, atol=1e-5)
    assert torch.allclose(prior.deviation(mean, 3.0, told), deviation, atol=1e-5)
    around = ScanCondition.of(torch.cat([scan, mean, scan], dim=1), NUMBERS)
    with torch.no_grad():
        assert torch.allclose(
            prior.residual(mean, 0.7, around), ResidualDenoiser(residual)(mean, 0.7, around), atol=1e-5
        )


def test_the_hash_is_that_of_all_weights(tmp_path):
    mean_prior(tmp_path / "mean")
    whole = load_prior(tmp_path / "mean").sha256
    shutil.rmtree(tmp_path / "mean" / "residual")
    fewer = load_prior(tmp_path / "mean").sha256
    shutil.rmtree(tmp_path / "mean" / "deviation")
    without = load_prior(tmp_path / "mean").sha256
    shutil.rmtree(tmp_path / "mean" / "stage2")
    alone = load_prior(tmp_path / "mean")
    assert len({whole, fewer, without, alone.sha256}) == 4
    assert alone.stages == () and alone.deviation is None


def test_a_guided_stage_comes_with_its_own_deviation(tmp_path):
    _, deviation = guided_prior(tmp_path / "mean")
    prior = load_prior(tmp_path / "mean")
    images = torch.randn(2, 20, 16, 16)
    told = ScanCondition.of(images[:, :15], NUMBERS)
    with torch.no_grad():
        expected = deviation(images)
    assert torch.allclose(prior.guided_deviation(images[:, 15:], 1.0, told), expected, atol=1e-5)
    shutil.rmtree(tmp_path / "mean" / "guided" / "deviation")
    without = load_prior(tmp_path / "mean")
    assert without.guided_deviation is None and without.sha256 == prior.sha256  # that of what has no guide
    assert without.guided_sha256 != prior.guided_sha256
    shutil.copytree(tmp_path / "mean" / "deviation", tmp_path / "mean" / "guided" / "deviation")
    with pytest.raises(PriorError, match="sees 2 images and not 4"):
        load_prior(tmp_path / "mean")
    guided_prior(tmp_path / "other")
    for name in ("residual", "deviation"):
        shutil.rmtree(tmp_path / "other" / name)
    with pytest.raises(PriorError, match=r"guided/deviation needs .*deviation, which is missing"):
        load_prior(tmp_path / "other")


def test_samples_around_a_mean_need_its_deviation(tmp_path):
    mean_prior(tmp_path / "mean")
    shutil.rmtree(tmp_path / "mean" / "deviation")
    with pytest.raises(PriorError, match="deviation, which is missing"):
        load_prior(tmp_path / "mean")


def test_a_slice_alone_repeats_itself(tmp_path):
    mean_prior(tmp_path / "mean")
    prior, image = load_prior(tmp_path / "mean"), torch.randn(2, 1, 16, 16)
    slab = image.expand(-1, 5, -1, -1)
    alone = prior.denoise(image, 3.0, ScanCondition.of(image, NUMBERS))
    assert torch.equal(alone, prior.denoise(slab, 3.0, ScanCondition.of(slab, NUMBERS)))


def test_broken_stages_are_refused_in_one_sentence(tmp_path):
    mean_prior(tmp_path / "mean")
    (tmp_path / "mean" / "stage2" / WEIGHTS).write_bytes(b"cut short")
    with pytest.raises(PriorError, match=r"stage2/.* could not be read"):
        load_prior(tmp_path / "mean")
    shutil.rmtree(tmp_path / "mean" / "stage2")
    shutil.copytree(tmp_path / "mean" / "deviation", tmp_path / "mean" / "stage2")
    with pytest.raises(PriorError, match="holds a DeviationUNet2D, not a MeanUNet2D"):
        load_prior(tmp_path / "mean")


def test_an_unconditional_prior_is_told_of_nothing_and_sampled(tmp_path):
    torch.manual_seed(0)
    trained = {"voxel_range_mm": [0.6, 1.3], "mirrored": True}
    network = DiffusionUNet2D(channels=(8, 12), blocks=(1, 1), trained=trained)
    torch.nn.init.normal_(network.head.weight, std=0.1)
    save_prior(network, tmp_path)
    prior = load_prior(tmp_path)
    assert prior.samples and not prior.conditioned and prior.mirrored and prior.slab == 5 and prior.multiple == 4
    assert prior.voxel_range_mm == (0.6, 1.3)
    slabs = torch.randn(2, 5, 16, 16)
    found = prior.denoise(slabs, 0.3)
    with torch.no_grad():
        assert torch.allclose(found, EDMDenoiser(network)(slabs, 0.3), atol=1e-5)
    assert not torch.allclose(found, middle(slabs) * 0.25 / (0.25 + 0.09), atol=1e-3)
