"""The diffusion of what a mean leaves open: its preconditioning, its loss and what it is told."""

import math

import pytest
import torch

from focvs.priors.condition import ScanCondition, middle
from focvs.priors.residual_network import (
    LEAST_DEVIATION,
    ResidualDenoiser,
    ResidualUNet2D,
    as_image,
    deviation_scale,
)


def network(random=True):
    torch.manual_seed(0)
    made = ResidualUNet2D(slab=3, channels=(8, 12), blocks=(1, 1), embedding=16)
    for parameter in made.parameters():
        if random and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return made


def condition(told):
    zero = torch.zeros(len(told))
    return ScanCondition(told, zero, zero, zero)


@pytest.mark.parametrize("sigma", [0.05, 1.0, 20.0])
def test_an_untrained_one_is_the_best_guess_about_a_white_residual(sigma):
    x, told = torch.randn(2, 3, 10, 12), torch.randn(2, 9, 10, 12)
    found = ResidualDenoiser(network(random=False))(x, sigma, condition(told))
    assert torch.allclose(found, middle(x) / (1 + sigma**2), atol=1e-6)


def test_its_loss_is_one_before_it_has_learnt_anything():
    residual, noise = torch.randn(64, 3, 16, 16), torch.randn(64, 3, 16, 16)
    sigma = torch.linspace(-3, 3, 64).exp()
    loss = ResidualDenoiser(network(random=False)).loss(residual, torch.zeros(64, 9, 16, 16), sigma, noise)
    assert loss.shape == (64,) and float(loss.mean()) == pytest.approx(1.0, abs=0.03)


def test_noise_level_scan_mean_and_deviation_are_heard():
    raw, images = network(), torch.randn(2, 12, 8, 8)
    before = raw(images, torch.full((2,), 0.3))
    assert not torch.allclose(before, raw(images, torch.full((2,), -0.3)), atol=1e-4)
    for channel in range(12):
        changed = images.clone()
        changed[:, channel] += 1
        assert not torch.allclose(before, raw(changed, torch.full((2,), 0.3)), atol=1e-5), channel


def test_odd_sizes_are_padded_and_cut():
    assert network()(torch.randn(1, 12, 9, 11), torch.zeros(1)).shape == (1, 1, 9, 11)


def test_a_residual_is_never_measured_in_less_than_the_least_deviation():
    log = torch.tensor([-12.0, math.log(0.05)])
    assert deviation_scale(log).tolist() == pytest.approx([LEAST_DEVIATION, 0.05])
    assert as_image(log).abs().max() < 2


def test_a_folder_gives_it_back(tmp_path):
    made = network()
    made.save_pretrained(tmp_path)
    again = ResidualUNet2D.from_pretrained(tmp_path)
    images, level = torch.randn(1, 12, 8, 8), torch.zeros(1)
    assert torch.equal(made(images, level), again(images, level))
