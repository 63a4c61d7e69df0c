"""Train a prior: ``python scripts/train.py [key=value ...]``, keys in conf/train.yaml.

Makes the cache on first use, resumes from ``output/state`` where it exists, and leaves the prior in ``output/ema``.
The 3D prior: ``python scripts/train.py experiment=head3d``.
On a CPU a process for every core is faster than one with all of them: ``torchrun --nproc-per-node 2 scripts/train.py``.
On a GPU: ``python scripts/train.py plan.mixed_precision=bf16 plan.workers=8 plan.batch_size=128``.
"""

from __future__ import annotations

import logging
from pathlib import Path

import hydra
import torch
from accelerate import PartialState
from hydra.utils import instantiate
from omegaconf import DictConfig

from focvs.config import conf_dir
from focvs.priors.own import save_prior
from focvs.training.blocks import VolumePatchDataset
from focvs.training.cache import build_cache, load_cache
from focvs.training.datasets import Augmentation, PatchDataset
from focvs.training.trainer import carry_over, cpu_processes, train

log = logging.getLogger(__name__)


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="train")
def main(config: DictConfig) -> None:
    cache = Path(config.cache)
    with PartialState(cpu=cpu_processes()).main_process_first():
        if not cache.is_file():
            names = build_cache(Path(config.data), cache, tuple(config.validation), config.label_maps)
            log.info("cached %d volumes in %s (%.1f MiB)", len(names), cache, cache.stat().st_size / 2**20)
    kind = PatchDataset if config.dimensions == 2 else VolumePatchDataset
    try:
        dataset = kind(
            load_cache(cache, tuple(config.validation)),
            dict(config.group_weights),
            config.patch,
            tuple(config.voxel_range_mm),
            config.plan.seed,
            augmentation=Augmentation(**config.augmentation),
            scanned=config.scanned if config.network.conditioned else 0.0,
            slab=config.network.get("slab", 1),
            alone=config.alone,
            planes=config.planes,
        )
    except ValueError as error:
        raise SystemExit(str(error)) from error
    torch.manual_seed(config.plan.seed)
    trained = {"voxel_range_mm": list(config.voxel_range_mm), "mirrored": True}
    network = instantiate(config.network, trained=trained, _convert_="all")
    if config.start:
        carry_over(type(network).from_pretrained(config.start, torch_dtype=torch.float32), network)
    plan = instantiate(config.plan, _convert_="all")
    train(network, dataset, plan, Path(config.output), save_prior)


if __name__ == "__main__":
    main()
