import numpy as np
import pytest
import torch

from focvs.training.cache import CachedVolume, load_cache
from focvs.training.datasets import PLANES, Augmentation, PatchDataset
from training_sets import WEIGHTS


def test_items_depend_on_seed_and_index_alone(cache):
    volumes = load_cache(cache)
    first, second = (PatchDataset(volumes, WEIGHTS, size=32, seed=5, acquisitions=8) for _ in range(2))
    forward = [first[i] for i in range(12)]
    backward = [second[i] for i in reversed(range(12))][::-1]
    assert all(torch.equal(a, b) for i, j in zip(forward, backward, strict=True) for a, b in zip(i, j, strict=True))
    assert not torch.equal(PatchDataset(volumes, WEIGHTS, size=32, seed=6, acquisitions=8)[0][0], forward[0][0])
    stacked = torch.stack([clean for clean, _, _, _ in forward])
    assert stacked.shape == (12, 1, 32, 32)
    assert stacked.dtype == torch.float32
    assert stacked.min() >= -1
    assert stacked.max() < 2.5
    assert stacked.std() > 0.1


@pytest.mark.parametrize("group", list(WEIGHTS))
def test_every_group_gives_images(cache, group):
    dataset = PatchDataset(load_cache(cache), {group: 1.0}, size=48, acquisitions=8)
    images = torch.stack([dataset[i][0] for i in range(10)])
    assert torch.isfinite(images).all()
    assert (images.flatten(1).std(1) > 0.02).sum() >= 7


def test_scans_come_with_their_numbers_and_keep_the_large_structures(cache):
    dataset = PatchDataset(load_cache(cache), {"isotropic": 1.0}, size=64, scanned=0.7, acquisitions=40)
    items = [dataset[i] for i in range(60)]
    without = [item for item in items if item[2][1] == 0]
    assert 8 <= len(without) <= 30
    assert all(not scan.any() and not numbers.any() for _, scan, numbers, _ in without)
    for clean, scan, (thickness, spacing, sigma), _ in (item for item in items if item[2][1] > 0):
        assert 1.8 <= spacing <= 10
        assert 0.55 * spacing <= thickness <= 1.35 * spacing
        assert 0 <= sigma <= 0.06
        error = (scan - clean).square().mean().sqrt()
        assert 0 < error < 0.7 * clean.std() + 2 * sigma + 0.05
    assert not any(
        item[2].any()
        for item in (PatchDataset(load_cache(cache), WEIGHTS, 32, scanned=0, acquisitions=8)[i] for i in range(9))
    )


@pytest.mark.parametrize(("untouched", "spacing_mm"), [(1.0, 1.0), (0.0, 1.0), (0.0, 0.8)])
def test_a_slab_holds_neighbouring_slices(untouched, spacing_mm):
    """On a ramp: a voxel apart where nothing is resampled, a pixel of the patch apart where it is."""
    ramp = np.broadcast_to(2 * np.arange(60, dtype=np.uint8) + 40, (60, 60, 60)).copy()
    volume = CachedVolume("ramp", "isotropic", ramp, (1.0, 1.0, spacing_mm))
    still = Augmentation(untouched=untouched, deformation=0)
    dataset = PatchDataset([volume], {"isotropic": 1.0}, 32, (0.9, 0.9), augmentation=still, slab=3, acquisitions=8)
    step = 2 / 120 * (1.0 if untouched else 0.9 / spacing_mm)
    rng, across = np.random.default_rng(0), 0
    for _ in range(60):
        slab = dataset._draw(volume, 1, rng)
        assert slab.shape == (3, 32, 32)
        before, after = slab[1] - slab[0], slab[2] - slab[1]
        if slab[1].std() > 1e-4:  # the ramp lies in the plane
            assert np.abs(before).max() < 1e-5
        elif min(np.abs(before).max(), np.abs(after).max()) > 0.9 * step:  # and not at an end of the volume
            assert np.allclose(np.abs(before), step, rtol=1e-3)
            assert np.allclose(before, after, atol=1e-5)
            across += 1
    assert across > 8


@pytest.mark.parametrize(("plane", "axis"), list(zip(PLANES, range(3), strict=True)))
def test_slices_lie_in_the_planes_asked_for(plane, axis):
    """On a volume whose brightness is the place along one axis, slices across it are flat, and no others."""
    ramp = np.moveaxis(np.broadcast_to(2 * np.arange(60, dtype=np.uint8) + 40, (60, 60, 60)), -1, axis).copy()
    volume, still = CachedVolume("ramp", "isotropic", ramp, (1.0, 1.0, 1.0)), Augmentation(deformation=0)
    others = [name for name in PLANES if name != plane]
    for planes, flat in (([plane], [True]), (others, [False]), (PLANES, [False, True])):
        dataset = PatchDataset([volume], {"isotropic": 1.0}, 32, augmentation=still, planes=planes, acquisitions=8)
        rng = np.random.default_rng(0)
        assert sorted({dataset._draw(volume, 0, rng).std() < 1e-4 for _ in range(20)}) == flat
    for planes in ([], ["axail"]):
        with pytest.raises(ValueError, match="must be some of sagittal, coronal, axial"):
            PatchDataset([volume], {"isotropic": 1.0}, 32, planes=planes, acquisitions=8)


def test_a_slice_alone_repeats_itself_and_says_so(cache):
    volumes = load_cache(cache)
    for group, alone, expected in (("thick", 0.0, 1.0), ("isotropic", 0.0, 0.0), ("isotropic", 1.0, 1.0)):
        dataset = PatchDataset(
            volumes, {group: 1.0}, size=32, slab=3, alone=alone, augmentation=Augmentation(vessels=0), acquisitions=8
        )
        items = [dataset[i] for i in range(12)]
        assert np.mean([bool(item[3]) for item in items]) == expected
        for clean, scan, _, single in items:
            assert clean.shape == scan.shape == (3, 32, 32)
            for image in (clean, scan) if single else ():
                assert torch.equal(image, image[1:2].expand_as(image))
    dataset = PatchDataset(
        volumes, {"isotropic": 1.0}, size=32, slab=3, augmentation=Augmentation(vessels=1), acquisitions=8
    )
    assert all(dataset[i][3] for i in range(6))


def test_extreme_augmentation_stays_finite_and_in_range(cache):
    every = Augmentation(*[1.0] * 9)
    for group in WEIGHTS:
        dataset = PatchDataset(load_cache(cache), {group: 1.0}, size=48, augmentation=every, slab=3, acquisitions=8)
        images = torch.stack([dataset[i][0] for i in range(30)])
        assert torch.isfinite(images).all()
        assert images.min() >= -1
        assert images.max() < 5
