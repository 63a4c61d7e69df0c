"""Blocks of means: a function of the step alone, consistent with their scans, mirrored together."""

import pytest
import torch

from focvs.acquisition.guided_filter import AIR
from focvs.priors.mean_network import DeviationUNet2D, MeanUNet2D
from focvs.priors.residual_network import deviation_scale
from focvs.training.block_pool import MOST_CORRECTION, BlockPlan, BlockPool
from focvs.training.cache import load_cache
from focvs.training.guides import GuidePlan
from focvs.training.pool import FOREGROUND, PoolPlan, VolumePool

PLAN = BlockPlan(blocks=3, depth=8, refresh=2)


@pytest.fixture(scope="module")
def volumes(cache):
    return load_cache(cache)


def pool(volumes, stages=1, deviation=None, **options):
    chosen = {"volumes": 3, "edge": 40, "patch": 24, "acquisitions": 6, "noisy": 0.0} | options
    weights = chosen.pop("group_weights", {"isotropic": 1.0})
    torch.manual_seed(0)
    network = MeanUNet2D(channels=(8, 12), blocks=(1, 1)).eval()
    networks = [network, network.next_stage()][:stages]
    for stage in networks:
        torch.nn.init.normal_(stage.head.weight, std=0.05)
    return BlockPool(VolumePool(volumes, PoolPlan(weights, **chosen)), networks, PLAN, deviation, bfloat16=False)


def test_a_step_is_the_same_however_it_is_reached(volumes):
    straight, resumed = pool(volumes), pool(volumes)
    for step in range(6):
        clean, images = straight.batch(step, 3)
    again, seen = resumed.batch(5, 3)
    assert torch.equal(clean, again) and torch.equal(images, seen)
    assert clean.shape == (3, 1, 24, 24) and images.shape == (3, 10, 24, 24)
    assert torch.equal(straight.batch(1, 3)[0], pool(volumes).batch(1, 3)[0])  # going back is no different


def test_means_of_blocks_reproduce_the_slices_within_them(volumes):
    blocks = pool(volumes, acquisitions=1)
    blocks.batch(0, 1)
    (degrade,) = blocks.volumes.degradations
    within = (degrade.matrix[:, [0, -1]] < 0.2).all(1)
    assert within.any() and len(blocks.held) == PLAN.blocks
    for block in blocks.held:
        clean, scan, mean = block.clean.float(), *(image.float() for image in block.images)
        assert float((mean - scan).std()) > 0.003  # the stage did something
        missed = degrade(mean - clean)[..., within]
        assert float(missed.square().mean()) < 1e-3 * float((mean - clean).square().mean())


def test_a_second_stage_goes_on_from_the_first(volumes):
    one, two = pool(volumes), pool(volumes, stages=2)
    (_, first), (_, second) = one.batch(0, 4), two.batch(0, 4)
    assert torch.equal(first[:, :5], second[:, :5]) and not torch.equal(first[:, 5:], second[:, 5:])


@pytest.mark.parametrize("told", [0.2, 0.3, 20.0])
def test_the_deviation_of_a_block_is_right_for_it(volumes, told):
    """Whatever a deviation says, the residual of a block has a root mean square of 1 in the head, within a limit."""
    blocks = pool(volumes, deviation=DeviationUNet2D(channels=(8,), blocks=(1,), sigma_start=told))
    blocks.batch(0, 1)
    for block in blocks.held:
        clean, _, mean, log_deviation = block.clean.float(), *(image.float() for image in block.images)
        residual = ((clean - mean) / deviation_scale(log_deviation))[clean > 2 * FOREGROUND - 1]
        rms = float(residual.square().mean().sqrt())
        assert rms < 0.1 if told > 1 else rms == pytest.approx(1.0, abs=0.02)
        assert float(log_deviation.exp().max()) == pytest.approx(told / MOST_CORRECTION, rel=0.01) or told < 1


def test_a_guided_stage_is_told_of_the_guide_and_so_is_what_learns_from_it(volumes):
    torch.manual_seed(0)
    guided = MeanUNet2D(images=2, channels=(8, 12), blocks=(1, 1)).guided().eval()
    for layer in (guided.stem, guided.head):
        torch.nn.init.normal_(layer.weight, std=0.05)
    weights = PoolPlan({"isotropic": 1.0}, volumes=3, edge=40, patch=24, acquisitions=6, noisy=0.0)

    def held(guides):
        blocks = BlockPool(VolumePool(volumes, weights), [guided], PLAN, guides=guides, bfloat16=False)
        assert blocks.batch(0, 2)[1].shape == (2, 20, 24, 24)
        return blocks.held

    for one, other in zip(held(GuidePlan(absent=1.0)), held(GuidePlan(absent=0.0, cut=0.0)), strict=True):
        (scan, _, nothing, mean), (same, filtered, guide, guided_mean) = one.images, other.images
        assert torch.equal(scan, same) and (nothing == AIR).all() and float(guide.std()) > 0.05
        assert not torch.equal(filtered, scan) and not torch.allclose(mean, guided_mean, atol=0.02)
    deviation = DeviationUNet2D(images=2, channels=(8,), blocks=(1,)).guided()
    pool_of = BlockPool(VolumePool(volumes, weights), [guided], PLAN, deviation, GuidePlan(), bfloat16=False)
    assert pool_of.batch(0, 2)[1].shape == (2, 25, 24, 24)  # its log s as well
    for networks in ([guided], None), ([], deviation):
        with pytest.raises(ValueError, match="give guided=true"):
            BlockPool(VolumePool(volumes, weights), networks[0], PLAN, networks[1])


def test_slabs_are_mirrored_together(volumes):
    """The middle of the interpolated scan is near the clean slice whatever way both were turned."""
    clean, images = pool(volumes).batch(3, 16)
    error = (images[:, 2:3] - clean).square().mean((1, 2, 3))
    turned = (images[:, 2:3].flip(-1, -2) - clean).square().mean((1, 2, 3))
    assert (error < turned).float().mean() > 0.9


def test_stacks_alone_make_no_blocks(volumes):
    with pytest.raises(ValueError, match="every direction"):
        pool(volumes, group_weights={"thick": 1.0}).batch(0, 1)
