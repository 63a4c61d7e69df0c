"""Other people's priors: diffusers pipelines and MedForj."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from focvs.errors import PriorError, first_line
from focvs.priors.parameterisations import PREDICTIONS, make_denoiser
from focvs.priors.weights import WEIGHTS_STEM, fill, read_weights

AUTO = "auto"
MEDFORJ_SHAPE = (192, 224, 192)  # voxels of 1 mm, axes towards left, posterior, superior
MEDFORJ_VOXEL_MM = (0.95, 1.05)
MEDFORJ_PREDICTIONS = {
    "noise": "epsilon",
    "epsilon": "epsilon",
    "clean": "sample",
    "sample": "sample",
    "velocity": "v_prediction",
    "v_prediction": "v_prediction",
    "flow": "flow",
    "rflow": "velocity_reversed",
}
DIFFUSERS_SCHEDULERS = (
    "DDPMScheduler",
    "DDIMScheduler",
    "PNDMScheduler",
    "DPMSolverMultistepScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LMSDiscreteScheduler",
    "UniPCMultistepScheduler",
    "EDMEulerScheduler",
    "EDMDPMSolverMultistepScheduler",
    "FlowMatchEulerDiscreteScheduler",
)


class TimestepNetwork(nn.Module):
    """One calling convention for networks: ``(x, timesteps)`` to a tensor."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        out = self.network(x, timesteps)
        return getattr(out, "sample", out)


def diffusers_denoiser(path: str | Path, prediction: str = AUTO) -> tuple[nn.Module, int, Path]:
    """A 2D denoiser from a diffusers pipeline folder, or a bare ``UNet2DModel`` with its scheduler configuration.

    Args:
        path: the folder, or a hub id such as ``someone/model`` (fetched where there is a network; configurations and
            safetensors only).
        prediction: one of :data:`PREDICTIONS`, or ``auto`` for what the scheduler's configuration says.

    Returns:
        The denoiser, the number of pixels a slice's height and width must be a multiple of, and the weights file.

    Raises:
        PriorError: for a folder, configuration or network that cannot be used.
    """
    from diffusers import UNet2DModel

    folder = _local_folder(path)
    network_folder = folder / "unet" if (folder / "unet").is_dir() else folder
    config = _read_json(network_folder / "config.json")
    kind = config.get("_class_name")
    if kind != "UNet2DModel":
        raise PriorError(f"{network_folder}/config.json describes a {kind}; a UNet2DModel is needed.")
    _require_channels(config.get("in_channels"), config.get("out_channels"), network_folder)
    if config.get("class_embed_type") or config.get("num_class_embeds"):
        raise PriorError(f"{network_folder} is a network conditioned on classes; an unconditional one is needed.")
    scheduler = next(
        (p for p in (folder / "scheduler", folder) if (p / "scheduler_config.json").is_file()), network_folder
    )
    candidates = [network_folder / f"{WEIGHTS_STEM}.{suffix}" for suffix in ("safetensors", "bin")]
    weights = next((path for path in candidates if path.is_file()), None)
    if weights is None:
        raise PriorError(f"{network_folder} holds no {WEIGHTS_STEM}.safetensors or .bin; get the weights again.")
    try:
        network = UNet2DModel.from_config(config)
    except Exception as error:  # whatever a wrong configuration trips over
        raise PriorError(f"{network_folder}/config.json is no usable UNet2DModel ({first_line(error)}).") from error
    fill(network, read_weights(weights), weights)
    levels = len(config.get("block_out_channels", (1, 1, 1, 1)))
    denoise = _with_diffusers_scheduler(TimestepNetwork(network), scheduler / "scheduler_config.json", prediction)
    return denoise, 2 ** (levels - 1), weights


def medforj_denoiser(path: Path, prediction: str = AUTO) -> tuple[nn.Module, Path]:
    """A 3D denoiser from MedForj's weights: T1w heads of 192 x 224 x 192 at 1 mm, min-max scaled to [-1, 1].

    Args:
        path: ``model_epoch100.pt`` or its EMA, a state dict under the key ``model``.
        prediction: ``auto`` reads it from the name of the file's folder (``flow``, ``velocity``, ``sample``, ``rflow``,
            as MedForj ships them) and is ``flow`` elsewhere.

    Raises:
        PriorError: for a file that cannot be used.
    """
    from monai.networks.nets import DiffusionModelUNet

    network = DiffusionModelUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=1,
        channels=(16, 32, 64, 128, 256),
        attention_levels=(False, False, False, False, True),
        num_res_blocks=2,
        num_head_channels=8,
        norm_num_groups=8,
    )
    fill(network, read_weights(Path(path)), Path(path))
    if prediction == AUTO:
        prediction = MEDFORJ_PREDICTIONS.get(Path(path).parent.name, "flow")
    betas = torch.linspace(1e-4, 2e-2, 1000, dtype=torch.float64)
    return _build(TimestepNetwork(network), prediction, (1 - betas).cumprod(0)), Path(path)


def _with_diffusers_scheduler(network: nn.Module, path: Path, prediction: str) -> nn.Module:
    import diffusers

    if not path.is_file():
        if prediction == AUTO:
            raise PriorError(
                f"{path} is missing, so what the network predicts is not known; give prior.prediction= one of "
                f"{', '.join(PREDICTIONS)}."
            )
        return _build(network, prediction, getattr(diffusers.DDPMScheduler(), "alphas_cumprod", None))
    config = _read_json(path)
    kind = str(config.get("_class_name", ""))
    _require_known(kind, DIFFUSERS_SCHEDULERS, path)
    scheduler = getattr(diffusers, kind).from_config(config)
    known = str(config.get("prediction_type", "epsilon"))
    if kind.startswith("EDM"):
        known = {"epsilon": "edm", "v_prediction": "edm_v_prediction"}.get(known, known)
    elif kind.startswith("FlowMatch"):
        known = "velocity"
    return _build(
        network,
        known if prediction == AUTO else prediction,
        getattr(scheduler, "alphas_cumprod", None),
        int(config.get("num_train_timesteps", 1000)),
        float(config.get("sigma_data", 0.5)),
    )


def _build(
    network: Callable[[Tensor, Tensor], Tensor],
    prediction: str,
    table: Tensor | None,
    timesteps: int = 1000,
    sigma_data: float = 0.5,
) -> nn.Module:
    try:
        return make_denoiser(network, prediction, table, timesteps, sigma_data)
    except ValueError as error:
        raise PriorError(str(error)) from error


def _local_folder(path: str | Path) -> Path:
    folder = Path(path)
    if folder.is_dir():
        return folder
    if folder.exists() or folder.is_absolute() or str(path).count("/") != 1 or str(path).startswith((".", "~")):
        raise PriorError(f"{path} is not a folder; give a diffusers folder or a hub id such as someone/model.")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(str(path), allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:  # no network, no such repository, no access: each library layer has its own kind
        raise PriorError(f"{path} is no folder here, and the hub did not give it ({first_line(error)}).") from error


def _require_known(kind: Any, allowed: Iterable[str], where: str | Path) -> None:
    if kind not in allowed:
        raise PriorError(f"{where} asks for {kind or 'nothing by name'}; allowed are {', '.join(allowed)}.")


def _require_channels(inside: Any, outside: Any, where: str | Path) -> None:
    if (inside, outside) != (1, 1):
        raise PriorError(f"{where} has {inside} input and {outside} output channels; an MRI prior needs 1 and 1.")


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise PriorError(f"{path} is missing; a diffusers folder has one.")
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise PriorError(f"{path} is not JSON ({first_line(error)}); get the prior again.") from error
    if not isinstance(content, dict):
        raise PriorError(f"{path} holds no table of settings; get the prior again.")
    return content
