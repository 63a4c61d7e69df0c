"""Perceptual distances: the network by its parts, the distances in closed form, weights that are something else."""

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from scipy.linalg import sqrtm
from torch import nn

from focvs.commands.evaluate import evaluate_estimates
from focvs.commands.overrides import compose, to_overrides
from focvs.errors import InputError
from focvs.evaluation.perceptual import (
    DEVIATION,
    MEAN,
    STAGES,
    VGG16,
    PerceptualDistance,
    describe_slices,
    frechet_distance,
    kernel_distance,
)
from scans import write_scan


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Random weights under torchvision's names, with a classifier as its files have."""
    torch.manual_seed(0)
    table = {k: v.contiguous() for k, v in VGG16().state_dict().items()}
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(table | {"classifier.0.weight": torch.zeros(2, 3)}, path)
    return path


@pytest.fixture(scope="module")
def linear(weights):
    torch.manual_seed(1)
    path = weights.parent / "lin.pth"
    torch.save({f"lin{i}.model.1.weight": torch.rand(1, s[-1], 1, 1) for i, s in enumerate(STAGES)}, path)
    return path


def test_the_layers_are_where_torchvision_has_them():
    network = VGG16()
    convolutions = [i for i, layer in enumerate(network.features) if isinstance(layer, nn.Conv2d)]
    assert convolutions == [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28]
    assert network.taps == [3, 8, 15, 22, 29]
    assert sum(p.numel() for p in network.parameters()) == 14_714_688  # the convolutions of VGG16
    found = network(torch.rand(2, 40, 33))
    assert [tuple(f.shape) for f in found] == [
        (2, 64, 40, 33),
        (2, 128, 20, 16),
        (2, 256, 10, 8),
        (2, 512, 5, 4),
        (2, 512, 2, 2),
    ]


@pytest.mark.parametrize("weighed", [False, True])
def test_the_distance_is_that_of_the_paper(weights, linear, weighed):
    """Zhang et al. 2018, equation 1, written out with LPIPS's own scaling of images in [-1, 1]."""
    distance = PerceptualDistance(weights, linear if weighed else None)
    assert distance.name == ("LPIPS" if weighed else "VGG")
    images = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(2))
    (found,), *_ = distance(images[:1], images[1:])
    shift, scale = torch.tensor([-0.030, -0.088, -0.188]), torch.tensor([0.458, 0.448, 0.450])
    shown = ((2 * images - 1)[:, None] - shift.view(3, 1, 1)) / scale.view(3, 1, 1)
    expected, x = 0.0, shown
    for place, layer in enumerate(distance.network.features):
        x = layer(x)
        if place in distance.network.taps:
            unit = nn.functional.normalize(x, dim=1)
            squared = (unit[0] - unit[1]) ** 2
            factors = distance.linear[distance.network.taps.index(place)] if weighed else torch.ones(len(squared))
            expected += float((factors[:, None, None] * squared).sum(0).mean())
    assert float(found) == pytest.approx(expected, rel=1e-4)
    assert torch.allclose((1 + shift) / 2, torch.tensor(MEAN)) and torch.allclose(scale / 2, torch.tensor(DEVIATION))


def test_frechet_distance_of_gaussians():
    generator = torch.Generator().manual_seed(0)
    first = torch.randn(4000, 5, generator=generator)
    second = first * torch.tensor([1.0, 2.0, 3.0, 1.0, 0.5]) + torch.tensor([1.0, 0, 0, 0, 2.0])
    spreads = [np.cov(features.double().T) for features in (first, second)]
    means = [features.double().mean(0) for features in (first, second)]
    root = np.trace(sqrtm(spreads[0] @ spreads[1]).real)
    expected = float((means[0] - means[1]).square().sum()) + np.trace(spreads[0]) + np.trace(spreads[1]) - 2 * root
    assert frechet_distance(first, second) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance(first, second) == pytest.approx(1 + 4 + 1 + 4 + 0.25, rel=0.05)  # (1 - s)^2 and shifts
    few = torch.randn(7, 50, generator=generator)  # covariances without full rank
    assert frechet_distance(few, few) == pytest.approx(0, abs=1e-8)
    assert frechet_distance(few, few + 1) == pytest.approx(50, rel=1e-6)


def test_kernel_distance_is_unbiased():
    generator = torch.Generator().manual_seed(0)
    same = [kernel_distance(*torch.randn(2, 20, 4, generator=generator)) for _ in range(400)]
    assert abs(np.mean(same)) < 3 * np.std(same) / 20
    first, second = torch.randn(3, 2, generator=generator), torch.randn(2, 2, generator=generator)

    def k(a, b):
        return (float(a @ b) / 2 + 1) ** 3

    expected = sum(k(a, b) for i, a in enumerate(first) for j, b in enumerate(first) if i != j) / 6
    expected += k(second[0], second[1]) - 2 * np.mean([k(a, b) for a in first for b in second])
    assert kernel_distance(first, second) == pytest.approx(expected, rel=1e-5)
    for distance in (kernel_distance, frechet_distance):
        with pytest.raises(ValueError, match="at least two"):
            distance(first[:1], second)


def test_what_lies_outside_the_head_does_not_count(weights):
    rng = np.random.default_rng(0)
    truth = rng.random((20, 24, 22)).astype(np.float32)
    mask = np.zeros(truth.shape, bool)
    mask[1:19, 2:20, 1:20] = True
    elsewhere = np.where(mask, truth, 5)
    distance = PerceptualDistance(weights)
    same = describe_slices(distance, truth, elsewhere, mask, 1.0)
    assert same["distance"] == 0 and same["fid"] == pytest.approx(0, abs=1e-9)
    assert same["slices"] == 18 + 18 + 19
    dull, duller = (describe_slices(distance, truth, (1 - w) * truth + w / 2, mask, 1.0) for w in (0.2, 0.6))
    assert 0 < dull["distance"] < duller["distance"] and 0 < dull["fid"] < duller["fid"]
    with pytest.raises(ValueError, match="16 by 16"):
        describe_slices(distance, truth[:15, :15], truth[:15, :15], mask[:15, :15], 1.0)


def test_evaluate_prints_them(tmp_path, weights, linear, phantom, capsys):
    affine = np.diag([1.2, 1.2, 1.2, 1.0])
    truth = write_scan(tmp_path / "truth.nii.gz", phantom[0][::2, ::2, ::2].astype(np.float32), affine)
    words = [str(truth), str(truth), f"vgg={weights}", f"lpips={linear}"]
    config = OmegaConf.to_object(compose("evaluate", to_overrides(words, ("truth", "estimates*"), "evaluate")))
    (row,) = evaluate_estimates(config)
    assert row["perceptual"]["distance"] == 0 and row["perceptual"]["slices"] > 10
    printed = capsys.readouterr().out
    assert "LPIPS distance" in printed and "FID" in printed
    config.vgg = None
    with pytest.raises(InputError, match="give its weights with vgg="):
        evaluate_estimates(config)


def test_weights_of_something_else_are_refused(tmp_path, weights, linear):
    with pytest.raises(InputError, match="does not fit"):
        PerceptualDistance(linear)
    with pytest.raises(InputError, match="five weights of LPIPS"):
        PerceptualDistance(weights, weights)
    with pytest.raises(InputError, match="is not there"):
        PerceptualDistance(tmp_path / "nothing.pth")
    (tmp_path / "cut.pth").write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(InputError, match="could not be read"):
        PerceptualDistance(tmp_path / "cut.pth")
    table = {k: v for k, v in torch.load(weights, weights_only=True).items() if k.startswith("features")}
    save_file(table, tmp_path / "vgg16.safetensors")
    assert PerceptualDistance(tmp_path / "vgg16.safetensors").name == "VGG"
