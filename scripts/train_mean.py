"""Train the mean: ``python scripts/train_mean.py [key=value ...]``, keys in conf/train_mean.yaml.

Makes the cache on first use, resumes from ``output/state.pt`` where it exists, and leaves the weights in
``output/ema``. A later stage of the cascade, the deviation and the residual learn from the means of trained stages:

    python scripts/train_mean.py output=runs/stage2 stages=[runs/mean2d/ema]
    python scripts/train_mean.py output=runs/deviation stages=[runs/mean2d/ema,runs/stage2/ema] network=deviation2d
    python scripts/train_mean.py output=runs/residual stages=[runs/mean2d/ema,runs/stage2/ema] \\
        deviation=runs/deviation/ema network=residual2d
    python scripts/train_mean.py output=runs/guided stages=[runs/mean2d/ema] start=runs/stage2/ema guided=true \
        pool.second_contrast=true

An unconditional diffusion prior, which is never told of a scan, is trained by the same trainer:

    python scripts/train_mean.py network=diffusion2d output=runs/unconditional2d
"""

from __future__ import annotations

import logging
from pathlib import Path

import hydra
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig

from focvs.config import conf_dir
from focvs.priors.diffusion_network import DiffusionUNet2D
from focvs.priors.mean_network import DeviationUNet2D, MeanUNet2D
from focvs.priors.own import save_prior
from focvs.training.block_pool import BlockPool
from focvs.training.cache import build_cache, load_cache
from focvs.training.mean import Batches, train_mean
from focvs.training.pool import SlabPool, VolumePool

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train_mean")
def main(config: DictConfig) -> None:
    cache = Path(config.cache)
    if not cache.is_file():
        names = build_cache(Path(config.data), cache, tuple(config.validation), config.label_maps)
        log.info("cached %d volumes in %s (%.1f MiB)", len(names), cache, cache.stat().st_size / 2**20)
    plan = instantiate(config.plan, _convert_="all")
    pool = VolumePool(load_cache(cache, tuple(config.validation)), instantiate(config.pool, _convert_="all"), plan.seed)
    torch.manual_seed(plan.seed)
    trained = {"voxel_range_mm": list(pool.plan.voxel_range_mm), "mirrored": True}
    network = instantiate(config.network, trained=trained, _convert_="all")
    stages = [MeanUNet2D.from_pretrained(folder) for folder in config.stages]
    if config.start:
        network = type(network).from_pretrained(config.start)
    elif stages and isinstance(network, MeanUNet2D):
        network = stages[-1].next_stage()
    if config.guided and network.images == 2:
        network = network.guided()
    deviation = DeviationUNet2D.from_pretrained(config.deviation) if config.deviation else None
    blocks = instantiate(config.blocks, _convert_="all")
    guides = instantiate(config.guides, _convert_="all") if config.guided else None
    if isinstance(network, DiffusionUNet2D):
        batches: Batches = SlabPool(pool)
    else:
        batches = BlockPool(pool, stages, blocks, deviation, guides) if stages else pool
    train_mean(network, batches, plan, Path(config.output), save_prior, config.device)


if __name__ == "__main__":
    main()
