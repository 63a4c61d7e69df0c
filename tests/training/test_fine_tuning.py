from dataclasses import replace

import pytest
import torch
from torch import nn

from focvs.acquisition.degradation import make_degradation
from focvs.acquisition.profile import gaussian_profile
from focvs.priors.condition import ScanCondition
from focvs.priors.denoiser import EDMDenoiser
from focvs.priors.diffusion_network import DiffusionUNet2D
from focvs.priors.mean_network import MeanUNet2D
from focvs.priors.networks import HaarUNet2D
from focvs.training.fine_tuning import AdaptationPlan, LowRank, adapt


@pytest.fixture(scope="module")
def slices(phantom):
    volume = torch.from_numpy(2 * phantom[1] - 1)
    images = volume[..., 20:40:4].movedim(-1, 0)[:, None].contiguous()
    return images, images > -0.8


@pytest.mark.parametrize(("method", "rate"), [("full", 3e-3), ("lora", 1e-2)])
def test_adaptation_learns_the_scan_and_leaves_the_prior_alone(slices, method, rate):
    images, mask = slices
    torch.manual_seed(0)
    network = HaarUNet2D(block_out_channels=(8, 16), norm_groups=4, conditioned=True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    acquisition = make_degradation(gaussian_profile(4.0), 4.0, 32)
    plan = AdaptationPlan(steps=80, learning_rate=rate, method=method, batch_size=4, patch=32)
    seen = []
    random_state = torch.get_rng_state()
    tuned = adapt(network, images, mask, [acquisition], 0.02, plan, lambda step, loss: seen.append(step))
    assert seen == list(range(1, 81))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert tuned.state_dict().keys() == before.keys()  # low-rank additions are merged
    window = images[:, :, 8:40, 16:48]
    condition = ScanCondition.simulated(acquisition, window)
    noise = torch.randn(window.shape, generator=torch.Generator().manual_seed(1))
    sigma = torch.full((len(window),), 0.2)
    with torch.no_grad():
        losses = [float(EDMDenoiser(n).loss(window, sigma, noise, condition).mean()) for n in (network, tuned)]
    assert losses[1] < 0.9 * losses[0]
    first, again = (adapt(network, images, mask, [acquisition], 0.02, replace(plan, steps=2)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize(("method", "rate"), [("full", 3e-2), ("lora", 1e-2)])
def test_a_mean_learns_the_scan_too(phantom, method, rate):
    images = torch.from_numpy(2 * phantom[0][..., 20:40:4] - 1).float().movedim(-1, 0)[:, None].contiguous()
    mask = images > -0.8
    torch.manual_seed(0)
    network = MeanUNet2D(channels=(8, 12), blocks=(1, 1))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    acquisition = make_degradation(gaussian_profile(4.0), 4.0, 32)
    plan = AdaptationPlan(steps=120, learning_rate=rate, method=method, batch_size=8, patch=32)
    tuned = adapt(network, images, mask, [acquisition], 0.0, plan)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    hidden = [name for name in before if name.startswith(("down", "up", "halve", "widen")) and name.endswith("weight")]
    assert all(not torch.equal(tuned.state_dict()[name], before[name]) for name in hidden) and len(hidden) > 6
    assert tuned.state_dict().keys() == before.keys() and not any(p.requires_grad for p in tuned.parameters())
    window = images[:, :, 8:40, 16:48]
    scan = ScanCondition.simulated(acquisition, window).image
    with torch.no_grad():
        errors = [float((n(scan.expand(-1, 5, -1, -1)) - window).square().mean()) for n in (network, tuned)]
    assert errors[1] < 0.985 * errors[0]  # ellipsoids, of which there is little to learn
    few = replace(plan, steps=2)
    first, again = (adapt(network, images, mask, [acquisition], 0.02, few) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    reduced = adapt(network, images, mask, [acquisition], 0.02, few, dtype=torch.bfloat16)
    assert {p.dtype for p in reduced.parameters()} == {torch.float32}


@pytest.mark.parametrize(("method", "rate"), [("full", 1e-2), ("lora", 1e-2)])
def test_a_prior_that_sees_no_scan_learns_its_slices(slices, method, rate):
    images, mask = slices
    torch.manual_seed(0)
    network = DiffusionUNet2D(channels=(8, 12), blocks=(1, 1))
    plan = AdaptationPlan(steps=80, learning_rate=rate, method=method, batch_size=4, patch=32)
    tuned = adapt(network, images, mask, [], 0.02, plan)  # no acquisition is drawn
    window, sigma = images[:, :, 8:40, 16:48], torch.full((len(images),), 0.2)
    noise = torch.randn(window.shape, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        losses = [float(EDMDenoiser(n).loss(window, sigma, noise).mean()) for n in (network, tuned)]
    assert losses[1] < 0.9 * losses[0]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_else_draws_random_numbers_makes_no_difference(slices, method):
    images, mask = slices
    network = HaarUNet2D(block_out_channels=(8, 8), norm_groups=4, conditioned=True)
    acquisition = make_degradation(gaussian_profile(4.0), 4.0, 32)
    plan = AdaptationPlan(steps=2, method=method, batch_size=2, patch=32)
    tuned = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        tuned.append(adapt(network, images, mask, [acquisition], 0.02, plan, lambda *_: torch.randn(3)))
    assert all(torch.equal(a, b) for a, b in zip(*(t.parameters() for t in tuned), strict=True))


def test_low_rank_additions_start_at_nothing_and_have_their_rank():
    layer = nn.Conv2d(6, 10, 3)
    addition = LowRank(layer.weight, 4, torch.Generator().manual_seed(0))
    assert torch.equal(addition(layer.weight), layer.weight)
    nn.init.normal_(addition.up)
    change = (addition(layer.weight) - layer.weight).flatten(1)
    assert torch.linalg.matrix_rank(change) == 4


def test_mistakes_are_named(slices):
    images, mask = slices
    network = HaarUNet2D(block_out_channels=(8, 8), norm_groups=4)
    with pytest.raises(ValueError, match="choose one of full, lora"):
        adapt(network, images, mask, [], 0.0, AdaptationPlan(method="half"))
    with pytest.raises(ValueError, match="enough head"):
        adapt(network, images, torch.zeros_like(mask), [], 0.0, AdaptationPlan(steps=1, patch=16))
