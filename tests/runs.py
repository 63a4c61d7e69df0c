from dataclasses import replace

import nibabel as nib
import numpy as np
import torch
from omegaconf import OmegaConf

from focvs.commands.overrides import compose, quote
from focvs.priors.mean_network import DeviationUNet2D, MeanUNet2D
from focvs.priors.networks3d import HaarUNet3D
from focvs.priors.own import save_prior
from focvs.priors.pretrained import load_prior
from focvs.priors.residual_network import ResidualUNet2D

TRAINED = {"voxel_range_mm": [0.59, 1.4], "mirrored": True}  # what priors of tests claim


def settings(scan, out, prior, *overrides):
    words = [f"scan={quote(str(scan))}", f"prior.path={quote(str(prior))}", "progress=false"]
    words += ["quality=samples", "samples=2", "steps=2", "precision=float32"]
    words += ["figure=false", "report=false"]  # drawn where a test looks at them
    if out is not None:
        words.append(f"output_dir={quote(str(out))}")
    return OmegaConf.to_object(compose("config", [*words, *overrides]))


def reread(path):
    return np.asarray(nib.load(path).dataobj)


def volumetric_prior(folder, **changes):
    torch.manual_seed(0)
    save_prior(HaarUNet3D(channels=(8, 8), norm_groups=4, conditioned=True, trained=TRAINED), folder)
    return replace(load_prior(folder), **changes)


def mean_prior(folder):
    """A small mean of two stages, its deviation and residual, all with weights of their own; they are returned."""
    torch.manual_seed(0)
    small = {"channels": (8, 12), "blocks": (1, 1), "trained": TRAINED}
    first = MeanUNet2D(**small)
    networks = first, first.next_stage(), DeviationUNet2D(**small), ResidualUNet2D(**small)
    for network, name in zip(networks, (".", "stage2", "deviation", "residual"), strict=True):
        for parameter in network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
        save_prior(network, folder / name)
    return networks


def guided_prior(folder):
    """The same with a guided stage and its deviation, to whose stems everything that they see matters."""
    _, second, deviation, _ = mean_prior(folder)
    networks = second.guided(), deviation.guided()
    for network, name in zip(networks, ("guided", "guided/deviation"), strict=True):
        torch.nn.init.normal_(network.stem.weight, std=0.05)
        save_prior(network, folder / name)
    return networks
