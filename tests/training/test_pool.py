"""The pool: a function of the step alone, patches in prior units, and volumes that keep what they must."""

import numpy as np
import pytest
import torch

from focvs.training.cache import WHITE_LEVEL, CachedVolume, load_cache
from focvs.training.pool import PoolPlan, SlabPool, VolumePool
from training_sets import WEIGHTS


def plan(**options):
    return PoolPlan(WEIGHTS, **{"volumes": 3, "refresh": 2, "edge": 40, "patch": 24, "acquisitions": 6} | options)


@pytest.fixture(scope="module")
def volumes(cache):
    return load_cache(cache)


def test_a_step_is_the_same_however_it_is_reached(volumes):
    straight, resumed = VolumePool(volumes, plan()), VolumePool(volumes, plan())
    for step in range(5):
        clean, scan = straight.batch(step, 2)
    again, scanned = resumed.batch(4, 2)
    assert torch.equal(clean, again) and torch.equal(scan, scanned)
    assert not torch.equal(clean, straight.batch(5, 2)[0])
    back, _ = straight.batch(4, 2)
    assert torch.equal(clean, back)
    other = VolumePool(volumes, plan(), seed=1)
    assert not torch.equal(clean, other.batch(4, 2)[0])


def test_patches_are_slabs_in_prior_units(volumes):
    clean, scan = VolumePool(volumes, plan(slab=5)).batch(0, 12)
    assert clean.shape == (12, 1, 24, 24) and scan.shape == (12, 5, 24, 24)
    assert clean.min() >= -1 and clean.max() < 4 and torch.isfinite(scan).all()
    error = (scan[:, 2:3] - clean).square().mean((1, 2, 3))
    assert (error > 0).all() and error.median() < 0.3 * clean.var()  # the scan is that of the slice in the middle


def test_a_slice_alone_repeats_itself(volumes):
    _, scan = VolumePool(volumes, plan(alone=1.0)).batch(0, 6)
    assert torch.equal(scan, scan[:, :1].expand_as(scan))


def test_slabs_for_a_prior_that_sees_no_scan(volumes):
    pool = VolumePool(volumes, plan())
    clean, seen = SlabPool(pool).batch(4, 12)
    assert clean.shape == (12, 5, 24, 24) and seen.shape == (12, 0, 24, 24)
    assert clean.min() >= -1 and clean.max() < 4
    assert torch.equal(clean, SlabPool(VolumePool(volumes, plan())).batch(4, 12)[0])
    alone, _ = SlabPool(VolumePool(volumes, plan(alone=1.0))).batch(4, 3)
    assert torch.equal(alone, alone[:, :1].expand_as(alone)) and not torch.equal(clean, clean[:, :1].expand_as(clean))


def test_oldest_volumes_go_first(volumes):
    pool = VolumePool(volumes, plan())
    pool.batch(0, 1)
    held = list(pool.held)
    pool.batch(2, 1)
    assert [id(v) for v in list(pool.held)[:2]] == [id(v) for v in held[1:]]


def test_volumes_are_never_finer_than_they_were_acquired():
    """A wave as long as 8 acquired voxels has at least 6 of any volume made from it."""
    wave = WHITE_LEVEL * (0.5 + 0.4 * np.sin(2 * np.pi * np.arange(96) / 8))
    data = np.broadcast_to(wave[:, None, None], (96, 96, 96)).astype(np.uint8)
    options = plan(voxel_range_mm=(0.6, 0.7), untouched=1.0, deformation=0.0, volumes=4)
    for name, voxel, lengths in (("ds011_01_T1w", 1.2, (6.2, 8.9)), ("other", 0.7, (6.4, 9.5))):
        volume = CachedVolume(name, "isotropic", data, (voxel, voxel, voxel))
        pool = VolumePool([volume], options)
        pool.batch(0, 1)
        for held in pool.held:
            spectrum = np.abs(np.fft.fft(held.data[:, 16:20, 16:20].astype(float) - held.data.mean(), axis=0)).mean(
                (1, 2)
            )
            found = len(held.data) / np.argmax(spectrum[: len(spectrum) // 2])
            assert lengths[0] <= found <= lengths[1], name


def test_thick_slices_have_no_neighbours_and_thin_ones_have():
    data = np.random.default_rng(0).integers(20, 120, (48, 48, 20), dtype=np.uint8)
    for thickness, neighbours in ((4.0, False), (1.5, True)):
        pool = VolumePool([CachedVolume("a", "thick", data, (0.8, 0.8, thickness))], plan())
        pool.batch(0, 1)
        assert all(v.neighbours is neighbours and v.axes == (2,) for v in pool.held)
