import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn.utils import parameters_to_vector

from focvs.priors.condition import ScanCondition
from focvs.priors.denoiser import EDMDenoiser
from focvs.priors.networks import HaarUNet2D
from focvs.priors.pretrained import load_prior, save_prior
from focvs.training.cache import CachedVolume, build_cache, load_cache
from focvs.training.datasets import PLANES, Augmentation, PatchDataset
from focvs.training.synthesis import (
    add_lesions,
    add_vessels,
    bias_field,
    label_family,
    random_contrast,
    random_curve,
    synthesise,
)
from focvs.training.trainer import TrainingPlan, carry_over, train

WEIGHTS = {"isotropic": 0.5, "thick": 0.25, "labels": 0.25}


@pytest.fixture(scope="module")
def cache(tmp_path_factory, phantom):
    folder = tmp_path_factory.mktemp("data")
    clean = phantom[0]
    labels = np.digitize(clean, [0.05, 0.3, 0.6]).astype(np.int16)
    ids = np.array([0, 24, 3, 2], np.int16)
    for group, name, data, voxel in (
        ("isotropic", "head", clean, (1.0, 1.0, 1.0)),
        ("isotropic", "kept_out", clean, (1.0, 1.0, 1.0)),
        ("thick", "stack", clean[:, :, ::5], (0.5, 0.5, 5.0)),
        ("labels", "map", ids[labels], (1.0, 1.0, 1.0)),
    ):
        (folder / group).mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(data, np.diag([*voxel, 1.0])), folder / group / f"{name}.nii.gz")
    path = folder / "cache" / "train.npz"
    assert build_cache(folder, path, exclude=("kept_out",)) == ["head", "stack", "map"]
    return path


def test_cache_holds_what_it_says(cache, tmp_path):
    volumes = {v.name: v for v in load_cache(cache)}
    assert set(volumes) == {"head", "stack", "map"}
    assert all(v.data.dtype == np.uint8 for v in volumes.values())
    assert volumes["stack"].voxel_mm[2] == pytest.approx(5.0)
    assert volumes["stack"].voxel_mm[0] == pytest.approx(0.7, rel=0.03)  # finer stacks are averaged to 0.7 mm
    assert sorted(set(volumes["map"].families.tolist())) == [0, 2, 3, 4]
    assert len(load_cache(cache, ("kept_out",))) == 3
    with pytest.raises(ValueError, match="holds head, to be kept out"):
        load_cache(cache, ("head", "kept_out"))
    with pytest.raises(FileNotFoundError, match="no NIfTI"):
        build_cache(tmp_path, tmp_path / "x.npz")


def test_items_depend_on_seed_and_index_alone(cache):
    volumes = load_cache(cache)
    first, second = (PatchDataset(volumes, WEIGHTS, size=32, seed=5) for _ in range(2))
    forward = [first[i] for i in range(12)]
    backward = [second[i] for i in reversed(range(12))][::-1]
    assert all(torch.equal(a, b) for i, j in zip(forward, backward, strict=True) for a, b in zip(i, j, strict=True))
    assert not torch.equal(PatchDataset(volumes, WEIGHTS, size=32, seed=6)[0][0], forward[0][0])
    stacked = torch.stack([clean for clean, _, _, _ in forward])
    assert stacked.shape == (12, 1, 32, 32)
    assert stacked.dtype == torch.float32
    assert stacked.min() >= -1
    assert stacked.max() < 2.5
    assert stacked.std() > 0.1


@pytest.mark.parametrize("group", list(WEIGHTS))
def test_every_group_gives_images(cache, group):
    dataset = PatchDataset(load_cache(cache), {group: 1.0}, size=48)
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
        item[2].any() for item in (PatchDataset(load_cache(cache), WEIGHTS, 32, scanned=0)[i] for i in range(9))
    )


@pytest.mark.parametrize(("untouched", "spacing_mm"), [(1.0, 1.0), (0.0, 1.0), (0.0, 0.8)])
def test_a_slab_holds_neighbouring_slices(untouched, spacing_mm):
    """On a ramp: a voxel apart where nothing is resampled, a pixel of the patch apart where it is."""
    ramp = np.broadcast_to(2 * np.arange(60, dtype=np.uint8) + 40, (60, 60, 60)).copy()
    volume = CachedVolume("ramp", "isotropic", ramp, (1.0, 1.0, spacing_mm))
    still = Augmentation(untouched=untouched, deformation=0)
    dataset = PatchDataset([volume], {"isotropic": 1.0}, 32, (0.9, 0.9), augmentation=still, slab=3)
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
        dataset = PatchDataset([volume], {"isotropic": 1.0}, 32, augmentation=still, planes=planes)
        rng = np.random.default_rng(0)
        assert sorted({dataset._draw(volume, 0, rng).std() < 1e-4 for _ in range(20)}) == flat
    for planes in ([], ["axail"]):
        with pytest.raises(ValueError, match="must be some of sagittal, coronal, axial"):
            PatchDataset([volume], {"isotropic": 1.0}, 32, planes=planes)


def test_a_slice_alone_repeats_itself_and_says_so(cache):
    volumes = load_cache(cache)
    for group, alone, expected in (("thick", 0.0, 1.0), ("isotropic", 0.0, 0.0), ("isotropic", 1.0, 1.0)):
        dataset = PatchDataset(
            volumes, {group: 1.0}, size=32, slab=3, alone=alone, augmentation=Augmentation(vessels=0)
        )
        items = [dataset[i] for i in range(12)]
        assert np.mean([bool(item[3]) for item in items]) == expected
        for clean, scan, _, single in items:
            assert clean.shape == scan.shape == (3, 32, 32)
            for image in (clean, scan) if single else ():
                assert torch.equal(image, image[1:2].expand_as(image))
    dataset = PatchDataset(volumes, {"isotropic": 1.0}, size=32, slab=3, augmentation=Augmentation(vessels=1))
    assert all(dataset[i][3] for i in range(6))


def test_noise_of_a_slice_alone_repeats_itself_too(cache, tmp_path):
    seen = []

    class Watching(HaarUNet2D):
        def forward(self, x, noise_condition, condition=None):
            seen.append(x.detach().clone())
            return super().forward(x, noise_condition, condition)

    network = Watching(slab=3, block_out_channels=(8, 8), norm_groups=4, conditioned=True)
    dataset = PatchDataset(load_cache(cache), {"isotropic": 1.0}, size=32, acquisitions=3, slab=3, alone=0.5)
    train(network, dataset, TrainingPlan(steps=2, batch_size=8, workers=0, checkpoint_every=2), tmp_path, save_prior)
    single = torch.stack([dataset[i][3] for i in range(16)])
    equal = torch.stack([(x[0] == x[1]).all() & (x[2] == x[1]).all() for x in torch.cat(seen)])
    assert torch.equal(equal, single)
    assert 0 < single.sum() < 16


def test_extreme_augmentation_stays_finite_and_in_range(cache):
    every = Augmentation(*[1.0] * 9)
    for group in WEIGHTS:
        dataset = PatchDataset(load_cache(cache), {group: 1.0}, size=48, augmentation=every, slab=3)
        images = torch.stack([dataset[i][0] for i in range(30)])
        assert torch.isfinite(images).all()
        assert images.min() >= -1
        assert images.max() < 5


def test_curves_keep_air_and_do_what_they_say():
    rng = np.random.default_rng(0)
    levels = np.linspace(0, 1.5, 200)
    for kind in ("monotone", "inverted", "free"):
        for _ in range(20):
            mapped = random_curve(rng, kind)(levels)
            assert mapped[0] == 0
            assert mapped.min() > -1e-12
            if kind == "monotone":
                assert (np.diff(mapped) > 0).all()
            if kind == "inverted":
                assert mapped[15] > mapped[120]
    with pytest.raises(ValueError, match="monotone, inverted or free"):
        random_curve(rng, "wrong")


def test_lesions_and_vessels_change_the_head_and_not_the_air():
    rng = np.random.default_rng(1)
    head = np.zeros((64, 64), dtype=np.float32)
    head[16:48, 16:48] = 0.5
    for add, image in ((add_lesions, np.stack([head] * 3)), (add_vessels, head)):
        changed = [add(image, rng) for _ in range(20)]
        assert all(np.array_equal(c[image == 0], image[image == 0]) for c in changed)
        assert np.mean([np.abs(c - image).max() > 0.02 for c in changed]) > 0.5
        assert not add(np.zeros_like(image), rng).any()


def test_lesions_go_on_in_the_slices_beside():
    rng = np.random.default_rng(2)
    head = np.full((3, 64, 64), 0.5, np.float32)
    changes = np.abs(np.stack([add_lesions(head, rng) - head for _ in range(40)]))
    middle, beside = changes[:, 1].ravel(), changes[:, 2].ravel()
    assert 0.8 < np.corrcoef(middle, beside)[0, 1] < 0.999


def test_synthetic_contrast_shares_intensities_within_a_family():
    assert label_family(41) == label_family(2)
    assert label_family(43) == label_family(24)
    assert label_family(511) == 511
    families = np.array([0, 2, 2, 3])
    rng = np.random.default_rng(0)
    means = np.array([random_contrast(families, rng)[0] for _ in range(200)])
    assert np.abs(means[:, 1] - means[:, 2]).mean() < 0.05 < np.abs(means[:, 1] - means[:, 3]).mean()
    labels = np.array([[0, 1], [3, 1]]).repeat(16, 0).repeat(16, 1)[None]
    image = synthesise(labels, families, rng)
    assert image.shape == labels.shape
    assert image[labels == 0].std() < 1e-6


def test_bias_field_is_smooth_and_positive():
    field = bias_field((64, 48), 0.1, np.random.default_rng(0))
    assert field.shape == (64, 48)
    assert field.min() > 0
    assert np.abs(np.diff(field, axis=0)).max() < 0.05


def small_training(cache, folder, steps):
    plan = TrainingPlan(
        steps=steps, batch_size=4, warmup_steps=2, decay_steps=0, workers=0, checkpoint_every=3, ema_decay=0.9
    )
    torch.manual_seed(0)
    network = HaarUNet2D(block_out_channels=(8, 8), norm_groups=4, conditioned=True)
    dataset = PatchDataset(load_cache(cache), WEIGHTS, size=32, acquisitions=5)
    return train(network, dataset, plan, folder, save_prior)


def test_training_resumes_to_the_bit(cache, tmp_path):
    whole = small_training(cache, tmp_path / "whole", 6)
    small_training(cache, tmp_path / "parts", 3)
    resumed = small_training(cache, tmp_path / "parts", 6)
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)
    records = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [r["step"] for r in records] == [3, 6]
    prior = load_prior(tmp_path / "parts" / "ema")
    assert prior.denoise(torch.zeros(1, 1, 16, 16), 0.5).shape == (1, 1, 16, 16)


def test_two_processes_share_the_patches_of_a_step(cache, tmp_path):
    """Their averaged gradients are those of one process, also after a resumption, and of what one process began."""
    child, tests = tmp_path / "child.py", Path(__file__).parent
    child.write_text(
        "from pathlib import Path\nfrom test_training import small_training\n"
        f"for steps in (3, 6):\n    small_training(Path({str(cache)!r}), Path({str(tmp_path / 'two')!r}), steps)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(child)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent)]),
        "CUDA_VISIBLE_DEVICES": "",
    }
    subprocess.run(command, check=True, env=environment, capture_output=True)
    one = parameters_to_vector(small_training(cache, tmp_path / "one", 6).parameters())
    two = parameters_to_vector(HaarUNet2D.from_pretrained(tmp_path / "two" / "ema").parameters())
    torch.manual_seed(0)
    start = parameters_to_vector(HaarUNet2D(block_out_channels=(8, 8), norm_groups=4, conditioned=True).parameters())
    assert (one - two).norm() < 0.01 * (one - start).norm()
    small_training(cache, tmp_path / "two", 9)  # what two began, one goes on with
    begun = [set(load_file(tmp_path / name / "state" / "model.safetensors")) for name in ("one", "two")]
    assert begun[0] == begun[1]
    one_log, two_log = ((tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("one", "two"))
    assert [json.loads(line)["loss"] for line in two_log[:2]] == pytest.approx(
        [json.loads(line)["loss"] for line in one_log], abs=1e-4
    )


def test_processes_that_cannot_share_a_batch_are_refused(cache, tmp_path, monkeypatch):
    monkeypatch.setattr("focvs.training.trainer.Accelerator.num_processes", 3)
    with pytest.raises(ValueError, match="cannot be shared by 3 processes"):
        small_training(cache, tmp_path, 3)


def test_a_kill_between_two_renames_loses_nothing(cache, tmp_path):
    small_training(cache, tmp_path, 3)
    (tmp_path / "state").rename(tmp_path / "state.part")
    whole = small_training(cache, tmp_path, 6)
    straight = small_training(cache, tmp_path / "straight", 6)
    for a, b in zip(whole.parameters(), straight.parameters(), strict=True):
        assert torch.equal(a, b)


def test_training_learns(cache, tmp_path):
    """A few dozen steps must beat the untrained network clearly on patches it has not seen."""
    dataset = PatchDataset(load_cache(cache), WEIGHTS, size=32, seed=99)
    clean = torch.stack([dataset[i][0] for i in range(16)])
    sigma, noise = TrainingPlan(steps=1).draw_noise(0, clean.shape)
    torch.manual_seed(0)
    fresh = HaarUNet2D(block_out_channels=(8, 8), norm_groups=4)
    plan = TrainingPlan(
        steps=150, batch_size=8, learning_rate=3e-3, warmup_steps=5, decay_steps=50, workers=0, ema_decay=0.9
    )
    dataset = PatchDataset(load_cache(cache), WEIGHTS, size=32)
    with torch.no_grad():
        before = EDMDenoiser(fresh).loss(clean, sigma, noise).mean()
    trained = train(fresh, dataset, plan, tmp_path, save_prior)
    with torch.no_grad():
        after = EDMDenoiser(trained).loss(clean, sigma, noise).mean()
    assert after < 0.8 * before


def test_an_unconditional_prior_becomes_a_conditioned_one_that_ignores_the_scan_at_first():
    torch.manual_seed(0)
    old = HaarUNet2D(block_out_channels=(8, 16), norm_groups=4).eval()
    new = HaarUNet2D(block_out_channels=(8, 16), norm_groups=4, conditioned=True).eval()
    carry_over(old, new)
    x, scan = torch.randn(2, 2, 1, 16, 16)
    four = torch.full((2,), 4.0)
    told = new(x, torch.zeros(2), ScanCondition(scan, four, four, 0 * four))
    assert torch.allclose(old(x, torch.zeros(2)), told, atol=1e-6)


def test_a_prior_of_slices_becomes_one_of_slabs_that_ignores_the_neighbours_at_first():
    torch.manual_seed(0)
    options = {"block_out_channels": (8, 16), "norm_groups": 4, "conditioned": True}
    old, new = HaarUNet2D(**options).eval(), HaarUNet2D(slab=3, **options).eval()
    carry_over(old, new)
    x, scan = torch.randn(2, 2, 3, 16, 16)
    four = torch.full((2,), 4.0)
    slabs = new(x, torch.zeros(2), ScanCondition(scan, four, four, 0 * four))
    alone = old(x[:, 1:2], torch.zeros(2), ScanCondition(scan[:, 1:2], four, four, 0 * four))
    assert torch.allclose(slabs, alone, atol=1e-6)


def test_learning_rate_schedule():
    plan = TrainingPlan(steps=100, warmup_steps=10, decay_steps=20)
    assert plan.learning_rate_factor(0) == pytest.approx(0.1)
    assert plan.learning_rate_factor(50) == 1
    assert plan.learning_rate_factor(90) == pytest.approx(0.5)
    assert plan.learning_rate_factor(100) == 0


def test_noise_levels_favour_the_range_that_matters():
    sigma, noise = TrainingPlan(steps=1).draw_noise(3, torch.Size((4000, 1, 2, 2)))
    assert ((sigma > 0.02) & (sigma < 1)).float().mean() > 0.85
    again, _ = TrainingPlan(steps=1).draw_noise(3, torch.Size((4000, 1, 2, 2)))
    assert torch.equal(sigma, again)
    assert float(noise.std()) == pytest.approx(1, abs=0.02)
