"""Guides of training blocks: in another contrast, in place, with things of their own."""

import numpy as np
import pytest

from focvs.acquisition.guided_filter import AIR
from focvs.evaluation.similarity import mutual_information
from focvs.training.guides import GuidePlan, add_tubes, make_guide

CALM = GuidePlan(absent=0, own=0, cut=0, blended=0, lesions=0, vessels=0, misplaced=0, most_blur_px=0, noisy=0)


@pytest.fixture(scope="module")
def block(phantom):
    return phantom[1][10:42, :40, :40].astype(np.float32)


def guide(block, seed=0, *, other=False, **changes):
    plan = GuidePlan(**(vars(CALM) | changes))
    return make_guide(block, plan, np.random.default_rng(seed), other=other)


def test_it_is_the_same_anatomy_in_another_contrast(block):
    head = block > 0.1
    for seed in range(4):
        made = guide(block, seed)
        assert made.shape == block.shape and made.dtype == np.float32 and made.min() >= AIR
        assert mutual_information(made[head], block[head]) > 1.0  # nats
    contrasts = [np.corrcoef(guide(block, seed)[head], block[head])[0, 1] for seed in range(12)]
    assert min(contrasts) < -0.3 and max(contrasts) > 0.3


def test_its_own_contrast_and_another_painting_are_left_as_they_are(block):
    for made in (guide(block, own=1.0), guide(block, other=True)):
        inside = block > 0.1
        order = np.argsort(block[inside])[::97]
        smooth = made[inside][order]
        assert np.corrcoef(np.arange(len(smooth)), smooth)[0, 1] > 0.7  # a gamma and a bias field keep the order


def test_none_is_air(block):
    assert (guide(block, absent=1.0) == AIR).all()


@pytest.mark.parametrize(
    "change", [{"lesions": 1.0}, {"vessels": 1.0}, {"misplaced": 1.0}, {"noisy": 1.0}, {"cut": 1.0}]
)
def test_what_the_scan_does_not_have(block, change):
    same, other = guide(block, 3, own=1.0), guide(block, 3, own=1.0, **change)
    assert not np.allclose(same, other, atol=0.02)


def test_a_cut_leaves_air_beyond(block):
    made = guide(block, 1, own=1.0, cut=1.0)
    empty = made <= AIR + 1e-6
    assert any(empty.all(tuple(a for a in range(3) if a != axis)).any() for axis in range(3))


def test_tubes_are_thin_and_within_the_head(block):
    changed = add_tubes(block, np.random.default_rng(2)) != block
    assert 0 < changed.mean() < 0.2 and not changed[block <= 0.08].any()
