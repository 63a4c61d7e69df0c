import pytest
import torch

from focvs.priors.condition import ScanCondition, middle
from focvs.priors.networks import HaarUNet2D


@pytest.mark.parametrize("size", [(16, 16), (17, 30), (5, 41)])
def test_any_size(size):
    network = HaarUNet2D(block_out_channels=(8, 8), norm_groups=4)
    assert network.multiple == 4
    x = torch.randn(2, 1, *size)
    assert network(x, torch.zeros(2)).shape == x.shape


@pytest.mark.parametrize(("stem_levels", "multiple"), [(0, 2), (1, 4), (2, 8)])
def test_any_number_of_haar_transforms(stem_levels, multiple):
    network = HaarUNet2D(slab=3, stem_levels=stem_levels, block_out_channels=(8, 8), norm_groups=4, conditioned=True)
    assert network.multiple == multiple
    assert network.unet.config.in_channels == 6 * 4**stem_levels
    x = torch.randn(2, 3, 15, 18)
    assert network(x, torch.zeros(2)).shape == (2, 1, 15, 18)


def test_padding_changes_nothing_inside_when_none_is_needed():
    torch.manual_seed(0)
    network = HaarUNet2D(block_out_channels=(8, 8), norm_groups=4).eval()
    x = torch.randn(1, 1, 15, 16)
    padded = torch.nn.functional.pad(x, (0, 0, 0, 1), mode="replicate")
    assert torch.allclose(network(x, torch.zeros(1)), network(padded, torch.zeros(1))[..., :15, :], atol=1e-6)


def test_noise_condition_matters():
    torch.manual_seed(0)
    network = HaarUNet2D(block_out_channels=(8, 8), norm_groups=4).eval()
    x = torch.randn(1, 1, 16, 16)
    assert not torch.allclose(network(x, torch.zeros(1)), network(x, -torch.ones(1)))


def slab_network():
    torch.manual_seed(0)
    return HaarUNet2D(slab=5, block_out_channels=(8, 8), norm_groups=4, conditioned=True).eval()


def test_neighbours_that_are_not_given_count_as_equal():
    network, zero = slab_network(), torch.zeros(2)
    x, scan = torch.randn(2, 2, 1, 15, 18)
    four = torch.full((2,), 4.0)
    alone = network(x, zero, ScanCondition(scan, four, four, 0 * four))
    assert alone.shape == x.shape
    for slab in (3, 5):
        wide = [v.expand(-1, slab, -1, -1) for v in (x, scan)]
        out = network(wide[0], zero, ScanCondition(wide[1], four, four, 0 * four))
        assert torch.allclose(out, alone, atol=1e-6)


@pytest.mark.parametrize("place", range(5))
def test_every_slice_of_a_slab_matters_in_the_noisy_image_and_in_the_scan(place):
    network, zero = slab_network(), torch.zeros(2)
    x, scan = torch.randn(2, 2, 5, 16, 16)
    assert torch.equal(middle(x), x[:, 2:3])
    four = torch.full((2,), 4.0)
    out = network(x, zero, ScanCondition(scan, four, four, 0 * four))
    assert out.shape == (2, 1, 16, 16)
    other = torch.randn(2, 5, 16, 16) * (torch.arange(5) == place)[:, None, None]
    assert not torch.allclose(out, network(x + other, zero, ScanCondition(scan, four, four, 0 * four)))
    assert not torch.allclose(out, network(x, zero, ScanCondition(scan + other, four, four, 0 * four)))


def test_a_conditioned_network_sees_the_scan_and_its_numbers():
    torch.manual_seed(0)
    network = HaarUNet2D(block_out_channels=(8, 8), norm_groups=4, conditioned=True).eval()
    x, scan = torch.randn(2, 2, 1, 15, 18)
    four = torch.full((2,), 4.0)
    alone = network(x, torch.zeros(2))
    assert torch.equal(alone, network(x, torch.zeros(2), ScanCondition.unknown(x)))
    with_scan = network(x, torch.zeros(2), ScanCondition(scan, four, four, 0 * four))
    assert not torch.allclose(alone, with_scan)
    # the numbers start without influence, and have one as soon as their last layer has weights
    assert torch.equal(with_scan, network(x, torch.zeros(2), ScanCondition(scan, 2 * four, four, 0 * four)))
    torch.nn.init.normal_(network.acquisition[-1].weight)
    with_scan = network(x, torch.zeros(2), ScanCondition(scan, four, four, 0 * four))
    for other in ((2 * four, four, 0 * four), (four, 2 * four, 0 * four), (four, four, 0.01 * four)):
        assert not torch.allclose(with_scan, network(x, torch.zeros(2), ScanCondition(scan, *other)))


def test_a_network_need_not_be_told_the_numbers():
    torch.manual_seed(0)
    network = HaarUNet2D(block_out_channels=(8, 8), norm_groups=4, conditioned=True, told_numbers=False).eval()
    x, scan = torch.randn(2, 2, 1, 15, 18)
    four = torch.full((2,), 4.0)
    with_scan = network(x, torch.zeros(2), ScanCondition(scan, four, four, 0 * four))
    assert not torch.allclose(network(x, torch.zeros(2)), with_scan)
    assert torch.equal(with_scan, network(x, torch.zeros(2), ScanCondition(scan, 2 * four, 3 * four, four)))
    assert not any(name.startswith("acquisition") for name in network.state_dict())


def test_what_a_network_predicts_is_known():
    with pytest.raises(ValueError, match="prediction=v is not known; choose edm or epsilon"):
        HaarUNet2D(prediction="v")
