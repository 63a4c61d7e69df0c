import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.nn.utils import parameters_to_vector

from focvs.priors.condition import ScanCondition
from focvs.priors.denoiser import EDMDenoiser
from focvs.priors.networks import HaarUNet2D
from focvs.priors.own import save_prior
from focvs.priors.pretrained import load_prior
from focvs.training.cache import load_cache
from focvs.training.datasets import PatchDataset
from focvs.training.trainer import TrainingPlan, carry_over, train
from training_sets import WEIGHTS


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


@pytest.mark.slow
def test_two_processes_share_the_patches_of_a_step(cache, tmp_path):
    """Their averaged gradients are those of one process, also after a resumption, and of what one process began."""
    child, tests = tmp_path / "child.py", Path(__file__).parent
    child.write_text(
        "from pathlib import Path\nfrom test_trainer import small_training\n"
        f"for steps in (3, 6):\n    small_training(Path({str(cache)!r}), Path({str(tmp_path / 'two')!r}), steps)\n"
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(child)]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tests), str(tests.parent), str(tests.parents[1])]),
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
    dataset = PatchDataset(load_cache(cache), WEIGHTS, size=32, seed=99, acquisitions=8)
    clean = torch.stack([dataset[i][0] for i in range(16)])
    sigma, noise = TrainingPlan(steps=1).draw_noise(0, clean.shape)
    torch.manual_seed(0)
    fresh = HaarUNet2D(block_out_channels=(8, 8), norm_groups=4)
    plan = TrainingPlan(
        steps=90, batch_size=8, learning_rate=3e-3, warmup_steps=5, decay_steps=30, workers=0, ema_decay=0.9
    )
    dataset = PatchDataset(load_cache(cache), WEIGHTS, size=32, acquisitions=8)
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
