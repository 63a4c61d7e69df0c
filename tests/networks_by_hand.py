"""Foreign networks as others write them, and what they predict, by hand."""

import json

import torch
import yaml
from monai.networks.nets import DiffusionModelUNet
from safetensors.torch import save_file

TABLE = (1 - torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)).cumprod(0)  # the usual alphas_cumprod


def epsilon_by_hand(network, x, timestep):
    """clean = (x_t - s eps) / a at one timestep of the usual schedule."""
    a = float(TABLE[timestep]) ** 0.5
    s = (1 - a**2) ** 0.5
    with torch.no_grad():
        out = network(a * x, torch.tensor([float(timestep)]))
    return (a * x - s * getattr(out, "sample", out)) / a, s / a


def bundle(folder, network, config, suffix=".json", weights="model.pt"):
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    text = json.dumps(config) if suffix == ".json" else yaml.safe_dump(config)
    (folder / "configs" / f"inference{suffix}").write_text(text)
    if weights.endswith(".pt"):
        torch.save(network.state_dict(), folder / "models" / weights)
    else:
        save_file(network.state_dict(), folder / "models" / weights)
    return folder


def definition(dimensions=2, **changes):
    settings = {
        "_target_": "DiffusionModelUNet",
        "spatial_dims": "@spatial_dims",
        "in_channels": 1,
        "out_channels": 1,
        "channels": [8, 8],
        "attention_levels": [False, False],
        "num_res_blocks": 1,
        "norm_num_groups": 4,
        "num_head_channels": 4,
    }
    return {"spatial_dims": dimensions, "network_def": settings | changes}


def monai_network(dimensions):
    torch.manual_seed(0)
    return DiffusionModelUNet(
        spatial_dims=dimensions,
        in_channels=1,
        out_channels=1,
        channels=[8, 8],
        attention_levels=[False, False],
        num_res_blocks=1,
        norm_num_groups=4,
        num_head_channels=4,
    ).eval()
