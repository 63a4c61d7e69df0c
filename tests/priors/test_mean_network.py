"""The network of the mean: the interpolated scan at first, any size, and which slices it uses."""

import pytest
import torch

from focvs.priors.mean_network import GUIDED_IMAGES, DeviationUNet2D, MeanUNet2D
from focvs.priors.own import save_prior


def small(**options):
    torch.manual_seed(0)
    return MeanUNet2D(**{"slab": 5, "channels": (8, 12), "blocks": (1, 1)} | options)


def awake(network):
    """With weights of its own where training starts from zero."""
    for name, parameter in network.named_parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(len(name)))
    return network


@pytest.mark.parametrize("images", [1, 2])
def test_at_first_it_is_the_last_image_itself(images):
    x = torch.randn(2, 5 * images, 24, 20)
    assert torch.equal(small(images=images)(x), x[:, -3:-2])


@pytest.mark.parametrize("size", [(24, 20), (17, 31), (1, 5)])
def test_any_size(size):
    out = awake(small())(torch.randn(2, 5, *size))
    assert out.shape == (2, 1, *size) and torch.isfinite(out).all()


def test_padding_changes_nothing_where_none_is_needed():
    network, x = awake(small()), torch.randn(1, 5, 32, 96)
    whole = network(x)
    odd = network(x[..., :95])
    assert network.multiple == 4
    assert torch.allclose(whole[..., :24], odd[..., :24], atol=1e-5)


def test_every_slice_of_the_slab_matters():
    network, x = awake(small()), torch.randn(1, 5, 16, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(x).sum(), x)
    assert (gradient.abs().sum((0, 2, 3)) > 1e-4).all()


def test_the_next_stage_hears_of_the_scan_as_before_and_leaves_the_mean_as_it_is():
    first = awake(small(trained={"mirrored": True}))
    second, scan, mean = first.next_stage(), torch.randn(2, 5, 24, 20), torch.randn(2, 5, 24, 20)
    assert second.images == 2 and second.trained == first.trained
    assert torch.equal(second(torch.cat([scan, mean], 1)), mean[:, 2:3])
    second.head.load_state_dict(first.head.state_dict())
    learnt = second(torch.cat([scan, mean], 1)) - mean[:, 2:3]  # the mean is not heard yet
    assert torch.allclose(learnt, first(scan) - scan[:, 2:3], atol=1e-5)
    third = second.next_stage()
    assert third.images == 2 and torch.equal(third.stem.weight, second.stem.weight)


@pytest.mark.parametrize("kind", [MeanUNet2D, DeviationUNet2D])
def test_what_is_guided_makes_nothing_of_its_guide_at_first(kind):
    second = awake(kind(images=2, channels=(8, 12), blocks=(1, 1)))
    guided = second.guided()
    scan, filtered, guide, mean = (torch.randn(2, 5, 24, 20) for _ in range(4))
    assert guided.images == GUIDED_IMAGES and type(guided) is kind
    found = guided(torch.cat([scan, filtered, guide, mean], 1))
    assert torch.allclose(found, second(torch.cat([scan, mean], 1)), atol=1e-5)
    assert {**guided.config, "images": 2} == second.config


def test_a_deviation_is_what_it_starts_with_at_first_and_of_any_size():
    torch.manual_seed(0)
    network = DeviationUNet2D(channels=(8, 12), blocks=(1, 1), sigma_start=0.03)
    assert network(torch.randn(2, 10, 17, 31)).exp().allclose(torch.full((2, 1, 17, 31), 0.03))
    out = awake(network)(torch.randn(2, 10, 17, 31))
    assert out.shape == (2, 1, 17, 31) and float(out.detach().std()) > 0.01


def test_layers_compute_in_bfloat16_and_the_result_is_float32():
    network, x = awake(small()), torch.randn(1, 5, 16, 16)
    exact = network(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        quick = network(x)
    assert quick.dtype == torch.float32
    assert float((quick - exact).abs().max()) < 0.1 * float((exact - x[:, 2:3]).abs().max())


def test_it_comes_back_from_disk(tmp_path):
    network, x = awake(small(trained={"mirrored": True})), torch.randn(1, 5, 16, 16)
    save_prior(network, tmp_path)
    again = MeanUNet2D.from_pretrained(tmp_path)
    assert again.trained == {"mirrored": True}
    assert torch.equal(again(x), network(x))


@pytest.mark.parametrize(("options", "said"), [({"slab": 4}, "odd number"), ({"blocks": (1,)}, "as many levels")])
def test_impossible_networks_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        small(**options)
