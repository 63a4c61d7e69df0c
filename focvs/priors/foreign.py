"""Other people's checkpoints as priors: diffusers folders, MedForj weights, MONAI bundles. Nothing is unpickled or run.

Weights come from safetensors, or from ``torch.load(weights_only=True)``, which refuses anything but tensors and plain
containers. Networks and schedulers are built by an allow-list of names from the configuration beside the weights.
"""

from __future__ import annotations

import hashlib
import json
import pickle
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor, nn

from focvs.errors import PriorError, first_line
from focvs.priors.calibration import is_table
from focvs.priors.parameterisations import PREDICTIONS, make_denoiser

AUTO = "auto"
WEIGHTS_STEM = "diffusion_pytorch_model"  # as diffusers names it, .safetensors or .bin
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
MONAI_NETWORKS = {
    "DiffusionModelUNet": "monai.networks.nets",
    "DiffusionModelUNetMaisi": "monai.apps.generation.maisi.networks.diffusion_model_unet_maisi",
}
MONAI_SCHEDULERS = ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "RFlowScheduler")
BUNDLE_CONFIGS = ("inference", "train", "train_diffusion")
NETWORK_KEYS = ("network_def", "diffusion_unet_def", "unet_def", "diffusion_def", "network", "unet", "diffusion")
SCHEDULER_KEYS = ("noise_scheduler", "scheduler")
CONDITIONS = (  # arguments of networks that want to be told more than the noise level
    "with_conditioning",
    "num_class_embeds",
    "include_top_region_index_input",
    "include_bottom_region_index_input",
    "include_spacing_input",
)


class TimestepNetwork(nn.Module):
    """One calling convention for networks: ``(x, timesteps)`` to a tensor."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        out = self.network(x, timesteps)
        return getattr(out, "sample", out)


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a ``.safetensors`` file or of a ``.pt``, ``.pth`` or ``.bin`` archive, without running its code.

    Raises:
        PriorError: for a file that is missing, truncated, or holds more than tensors.
    """
    if not path.is_file():
        raise PriorError(f"{path} is not there; give the file of weights with prior.path=.")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise PriorError(
            f"{path} is a pickle with code or objects in it, and nothing of it was run; save its state dict alone, "
            "best as safetensors."
        ) from error
    except Exception as error:  # safetensors, zipfile and torch each raise their own kinds for a broken file
        raise PriorError(f"{path} could not be read ({first_line(error)}); is it whole? Get it again.") from error
    if isinstance(content, Mapping):
        for key in ("model", "state_dict", "unet_state_dict", "model_state_dict"):
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(name).removeprefix("module."): value for name, value in content.items()}
    raise PriorError(f"{path} holds no table of named weights; a state dict is needed.")


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load ``weights`` into ``network``.

    Raises:
        PriorError: unless every name and shape agrees.
    """
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in weights.items()}
    if wanted != given:
        missing, extra = sorted(wanted.keys() - given.keys()), sorted(given.keys() - wanted.keys())
        shapes = [name for name in wanted.keys() & given.keys() if wanted[name] != given[name]]
        example = (
            f"{shapes[0]} is {given[shapes[0]]} and should be {wanted[shapes[0]]}"
            if shapes
            else f"{missing[0]} is missing"
            if missing
            else f"{extra[0]} is not part of it"
        )
        raise PriorError(
            f"{path} does not fit the network of its configuration: {len(missing)} weights missing, {len(extra)} "
            f"unknown, {len(shapes)} of another shape ({example})."
        )
    network.load_state_dict({name: value.float() for name, value in weights.items()})


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


def monai_denoiser(path: Path, prediction: str = AUTO) -> tuple[nn.Module, int, int, Path]:
    """A denoiser from a MONAI bundle: ``configs/inference.json`` (or train, or YAML) and ``models/model.pt``.

    The network and scheduler definitions are read as data: ``@`` references are followed, expressions (``$``) refused.

    Args:
        path: the bundle's folder.
        prediction: ``auto`` takes the scheduler's.

    Returns:
        The denoiser, its number of spatial dimensions, the number of pixels sizes must be a multiple of, the weights.

    Raises:
        PriorError: for a bundle that cannot be used.
    """
    from importlib import import_module

    from monai.networks import schedulers

    folder = Path(path)
    config, name = _bundle_config(folder)
    network_key = next((key for key in NETWORK_KEYS if isinstance(config.get(key), Mapping)), None)
    if network_key is None:
        raise PriorError(f"{name} defines no network under {', '.join(NETWORK_KEYS)}.")
    arguments = _resolve(config[network_key], config, name)
    kind = str(arguments.pop("_target_", "")).rsplit(".", 1)[-1]
    _require_known(kind, MONAI_NETWORKS, name)
    _require_channels(arguments.get("in_channels"), arguments.get("out_channels"), name)
    if any(arguments.get(key) for key in CONDITIONS):
        raise PriorError(f"{name} defines a conditioned network; an unconditional one is needed.")
    scheduler_key = next((key for key in SCHEDULER_KEYS if isinstance(config.get(key), Mapping)), None)
    if scheduler_key is None:
        raise PriorError(f"{name} defines no noise schedule under {', '.join(SCHEDULER_KEYS)}.")
    settings = _resolve(config[scheduler_key], config, name)
    schedule = str(settings.pop("_target_", "")).rsplit(".", 1)[-1]
    _require_known(schedule, MONAI_SCHEDULERS, name)
    try:
        network = getattr(import_module(MONAI_NETWORKS[kind]), kind)(**arguments)
        scheduler = getattr(schedulers, schedule)(**settings)
    except Exception as error:  # whatever wrong arguments trip over
        raise PriorError(f"{name} cannot be built by this MONAI ({first_line(error)}).") from error
    found = [*sorted((folder / "models").glob("*.safetensors")), *sorted((folder / "models").glob("*.pt"))]
    candidates = [path for path in found if not is_table(path)]  # focvs calibrate leaves its own there
    if not candidates:
        raise PriorError(f"{folder}/models holds no .pt or .safetensors file.")
    weights = next((p for p in candidates if p.stem == "model"), candidates[0])
    fill(network, read_weights(weights), weights)
    if schedule == "RFlowScheduler":
        known, table = "velocity_reversed", None
    else:
        known, table = str(settings.get("prediction_type", "epsilon")), scheduler.alphas_cumprod
    denoise = _build(
        TimestepNetwork(network), known if prediction == AUTO else prediction, table, scheduler.num_train_timesteps
    )
    levels = len(arguments.get("channels", arguments.get("num_channels", (1, 1, 1, 1))))
    return denoise, int(arguments["spatial_dims"]), 2 ** (levels - 1), weights


def sha256_of(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


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


def _bundle_config(folder: Path) -> tuple[dict[str, Any], str]:
    for stem in BUNDLE_CONFIGS:
        for suffix in (".json", ".yaml", ".yml"):
            path = folder / "configs" / (stem + suffix)
            if path.is_file():
                try:
                    config = yaml.safe_load(path.read_text())  # JSON is YAML
                except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
                    raise PriorError(f"{path} could not be read ({first_line(error)}).") from error
                if not isinstance(config, dict):
                    raise PriorError(f"{path} holds no table of definitions.")
                return config, str(path)
    raise PriorError(f"{folder} is not a MONAI bundle: configs/inference.json (or train, or .yaml) is missing.")


def _resolve(value: Any, config: Mapping[str, Any], name: str, depth: int = 0) -> Any:
    """Follow ``@key`` and ``@key::inner`` references; refuse expressions."""
    if depth > 20:
        raise PriorError(f"{name} has references that lead in a circle.")
    if isinstance(value, Mapping):
        return {key: _resolve(inner, config, name, depth + 1) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolve(inner, config, name, depth + 1) for inner in value]
    if isinstance(value, str) and value.startswith("$"):
        raise PriorError(f"{name} needs the expression {value} to be run, which is not done; write its value instead.")
    if isinstance(value, str) and value.startswith("@"):
        found: Any = config
        for part in value[1:].replace("#", "::").split("::"):
            index: Any = int(part) if isinstance(found, list) and part.isdigit() else part
            try:
                found = found[index]
            except (KeyError, IndexError, TypeError) as error:
                raise PriorError(f"{name} refers to {value}, which it does not define.") from error
        return _resolve(found, config, name, depth + 1)
    return value


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
