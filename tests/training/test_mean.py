"""Training of the mean: it learns, resumes to the bit, and weighs easy and hard patches alike."""

import json

import numpy as np
import pytest
import torch

from focvs.priors.mean_network import DeviationUNet2D, MeanUNet2D
from focvs.priors.own import save_prior
from focvs.priors.residual_network import ResidualUNet2D
from focvs.training.block_pool import BlockPlan, BlockPool
from focvs.training.cache import load_cache
from focvs.training.mean import MeanPlan, train_mean
from focvs.training.pool import PoolPlan, VolumePool
from training_sets import WEIGHTS


def trained(cache, folder, steps, pool=None, **options):
    chosen = {"volumes": 2, "edge": 40, "patch": 24, "acquisitions": 6} | (pool or {})
    pool = VolumePool(load_cache(cache), PoolPlan(WEIGHTS, **chosen))
    plan = MeanPlan(
        steps=steps, **{"batch_size": 4, "warmup_steps": 2, "decay_steps": 0, "checkpoint_every": 3} | options
    )
    torch.manual_seed(0)
    network = MeanUNet2D(channels=(8, 12), blocks=(1, 1))
    return train_mean(network, pool, plan, folder, save_prior)


def test_training_resumes_to_the_bit(cache, tmp_path):
    whole = trained(cache, tmp_path / "whole", 6, bfloat16=False)
    trained(cache, tmp_path / "parts", 3, bfloat16=False)
    resumed = trained(cache, tmp_path / "parts", 6, bfloat16=False)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
    records = [json.loads(line) for line in (tmp_path / "parts" / "log.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [3, 6]
    kept = MeanUNet2D.from_pretrained(tmp_path / "parts" / "ema")
    assert all(torch.equal(a, b) for a, b in zip(kept.parameters(), resumed.parameters(), strict=True))


def test_it_comes_to_beat_the_interpolated_scan(cache, tmp_path):
    options = {"batch_size": 8, "checkpoint_every": 20, "learning_rate": 6e-3, "adamw_learning_rate": 6e-3}
    trained(cache, tmp_path, 120, pool={"noisy": 0.0, "curve": 0.0, "lesions": 0.0}, **options)
    gains = [json.loads(line)["gain_db"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(gains) == 6 and np.mean(gains[3:]) > max(0.01, np.mean(gains[:3]))


def test_a_deviation_comes_to_know_the_size_of_errors(cache, tmp_path):
    torch.manual_seed(0)
    volumes = VolumePool(load_cache(cache), PoolPlan({"isotropic": 1.0}, volumes=2, edge=40, patch=24, acquisitions=6))
    stage = MeanUNet2D(channels=(8, 12), blocks=(1, 1))
    pool = BlockPool(volumes, [stage], BlockPlan(blocks=4, depth=8, refresh=100))
    plan = MeanPlan(
        steps=60, batch_size=8, warmup_steps=2, decay_steps=0, checkpoint_every=30, learning_rate=6e-3, ema_decay=0.9
    )
    network = DeviationUNet2D(channels=(8, 12), blocks=(1, 1), sigma_start=0.5)
    learnt = train_mean(network, pool, plan, tmp_path, save_prior)
    clean, images = pool.batch(7, 16)
    with torch.no_grad():
        deviation = learnt(images).exp()
    spread = float((images[:, 7:8] - clean).square().mean().sqrt() / deviation.square().mean().sqrt())
    assert 0.5 < spread < 2
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert losses[1] < losses[0]


def test_steps_that_are_not_numbers_are_left_out(cache, tmp_path, caplog, monkeypatch):
    batch = VolumePool.batch

    def spoilt(self, step, size):
        clean, scan = batch(self, step, size)
        return clean, scan * (float("nan") if step == 1 else 1.0)

    monkeypatch.setattr(VolumePool, "batch", spoilt)
    network = trained(cache, tmp_path, 3)
    assert all(torch.isfinite(p).all() for p in network.parameters())
    assert "step 1 was skipped" in caplog.text


def test_the_learning_rate_warms_up_stays_and_falls():
    plan = MeanPlan(steps=100, warmup_steps=10, decay_steps=50)
    assert [plan.learning_rate_factor(k) for k in (0, 9, 30, 75, 100)] == pytest.approx([0.1, 1, 1, 0.5, 0])


def test_a_residual_comes_to_know_more_than_that_it_is_of_order_one(cache, tmp_path):
    torch.manual_seed(0)
    volumes = VolumePool(load_cache(cache), PoolPlan({"isotropic": 1.0}, volumes=2, edge=40, patch=24, acquisitions=6))
    stage = MeanUNet2D(channels=(8, 12), blocks=(1, 1))
    deviation = DeviationUNet2D(channels=(8, 12), blocks=(1, 1), sigma_start=0.1)
    pool = BlockPool(volumes, [stage], BlockPlan(blocks=4, depth=8, refresh=100), deviation)
    clean, images = pool.batch(0, 4)
    assert clean.shape == (4, 5, 24, 24) and images.shape == (4, 15, 24, 24)
    plan = MeanPlan(
        steps=60, batch_size=8, warmup_steps=2, decay_steps=0, checkpoint_every=30, learning_rate=6e-3, ema_decay=0.9
    )
    network = ResidualUNet2D(channels=(8, 12), blocks=(1, 1), embedding=16)
    train_mean(network, pool, plan, tmp_path, save_prior)
    losses = [json.loads(line)["loss"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert losses[1] < losses[0]
