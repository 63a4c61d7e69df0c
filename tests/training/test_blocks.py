import numpy as np
import pytest

from focvs.training import blocks
from focvs.training.blocks import VolumePatchDataset
from focvs.training.cache import CachedVolume
from focvs.training.datasets import Augmentation
from focvs.training.synthesis import add_lesions


def test_painted_blocks_have_partial_volume():
    """A boundary of two labels crosses voxels: some of their eight parts are of one label, some of the other."""
    labels = np.ones((40, 40, 40), dtype=np.uint8)
    labels[20:] = 2
    volume = CachedVolume("two", "labels", labels, (1.0, 1.0, 1.0), np.array([0, 2, 3]))
    deformed = Augmentation(deformation=1)
    stack = CachedVolume("stack", "thick", labels, (0.7, 0.7, 5.0))
    dataset = VolumePatchDataset(
        [volume, stack], {"labels": 1.0, "thick": 9.0}, 16, augmentation=deformed, acquisitions=8
    )
    assert list(dataset.groups) == ["labels"]
    rng, seen = np.random.default_rng(0), 0
    for _ in range(12):
        block = dataset._block(volume, rng)
        assert block.shape == (32, 32, 32) and set(np.unique(block)) <= {1, 2}
        share = block.reshape(16, 2, 16, 2, 16, 2).mean((1, 3, 5)) - 1
        seen += bool(((share > 0) & (share < 1)).any())
    assert seen > 6


def test_blocks_are_resampled_to_the_voxels_asked_for():
    """On a ramp of 2 a voxel: its gradient in a block is that of the block's voxels, in some direction."""
    ramp = np.broadcast_to((2 * np.arange(80, dtype=np.uint8) + 40)[:, None, None], (80, 80, 80)).copy()
    volume = CachedVolume("ramp", "isotropic", ramp, (1.0, 1.0, 1.0))
    for target_mm, untouched in ((0.9, 0.0), (1.2, 0.0), (0.9, 1.0)):
        dataset = VolumePatchDataset(
            [volume],
            {"isotropic": 1.0},
            16,
            (target_mm, target_mm),
            augmentation=Augmentation(untouched=untouched, deformation=0),
            acquisitions=8,
        )
        rng = np.random.default_rng(1)
        slopes = [
            np.linalg.norm([np.gradient(block, axis=k)[8, 8, 8] for k in range(3)])
            for block in (dataset._block(volume, rng).astype(float) for _ in range(9))
        ]
        assert np.median(slopes) == pytest.approx(2 if untouched else 2 * target_mm, rel=0.1)


@pytest.mark.parametrize(("group", "chance"), [("isotropic", "lesions"), ("labels", "label_lesions")])
def test_blocks_get_lesions_by_their_chance(group, chance, monkeypatch):
    flat = np.full((40, 40, 40), 60 if group == "isotropic" else 1, dtype=np.uint8)
    volume, painted = CachedVolume("flat", group, flat, (1.0, 1.0, 1.0), np.array([0, 2])), []

    def paint(image, rng, anywhere):
        painted.append(anywhere)
        return add_lesions(image, rng, anywhere=anywhere)

    monkeypatch.setattr(blocks, "add_lesions", paint)
    for probability in (0.0, 1.0):
        never = {"lesions": 0.0, "label_lesions": 0.0}
        augmentation = Augmentation(**never | {chance: probability})
        dataset = VolumePatchDataset([volume], {group: 1.0}, 16, augmentation=augmentation, acquisitions=8)
        assert all(np.isfinite(dataset.image(np.random.default_rng(seed))).all() for seed in range(3))
        assert painted == [True] * int(3 * probability)


def test_lesions_of_blocks_lie_anywhere():
    image, rng = np.full((40, 40, 40), 0.5), np.random.default_rng(0)
    where = [np.argwhere(add_lesions(image, rng, anywhere=True) != 0.5)[:, 0].mean() for _ in range(20)]
    slab = [np.argwhere(add_lesions(image, rng) != 0.5)[:, 0].mean() for _ in range(20)]
    assert np.std(where) > 2 * np.std(slab)
