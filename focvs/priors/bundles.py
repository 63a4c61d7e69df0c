"""MONAI bundles, read as data: their references are followed, their expressions refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from focvs.errors import PriorError, first_line
from focvs.priors.error_table import is_table
from focvs.priors.foreign import AUTO, TimestepNetwork, _build, _require_channels, _require_known
from focvs.priors.weights import build

MONAI_NETWORKS = {
    "DiffusionModelUNet": "monai.networks.nets",
    "DiffusionModelUNetMaisi": "monai.apps.generation.maisi.networks.diffusion_model_unet_maisi",
}
MONAI_SCHEDULERS = ("DDPMScheduler", "DDIMScheduler", "PNDMScheduler", "RFlowScheduler")
BUNDLE_CONFIGS = ("inference", "train", "train_diffusion")
NETWORK_KEYS = ("network_def", "diffusion_unet_def", "unet_def", "diffusion_def", "network", "unet", "diffusion")
SCHEDULER_KEYS = ("noise_scheduler", "scheduler")
MOST_BYTES, MOST_VALUES, MOST_NUMBER = 2**20, 10_000, 100_000  # of a configuration
CONDITIONS = (  # arguments of networks that want to be told more than the noise level
    "with_conditioning",
    "num_class_embeds",
    "include_top_region_index_input",
    "include_bottom_region_index_input",
    "include_spacing_input",
)


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
    found = [*sorted((folder / "models").glob("*.safetensors")), *sorted((folder / "models").glob("*.pt"))]
    candidates = [path for path in found if not is_table(path)]  # focvs calibrate leaves its own there
    if not candidates:
        raise PriorError(f"{folder}/models holds no .pt or .safetensors file.")
    weights = next((p for p in candidates if p.stem == "model"), candidates[0])
    try:
        network = build(lambda: getattr(import_module(MONAI_NETWORKS[kind]), kind)(**arguments), weights)
        scheduler = getattr(schedulers, schedule)(**settings)
    except PriorError:
        raise
    except Exception as error:  # whatever wrong arguments trip over
        raise PriorError(f"{name} cannot be built by this MONAI ({first_line(error)}).") from error
    if schedule == "RFlowScheduler":
        known, table = "velocity_reversed", None
    else:
        known, table = str(settings.get("prediction_type", "epsilon")), scheduler.alphas_cumprod
    denoise = _build(
        TimestepNetwork(network), known if prediction == AUTO else prediction, table, scheduler.num_train_timesteps
    )
    levels = len(arguments.get("channels", arguments.get("num_channels", (1, 1, 1, 1))))
    return denoise, int(arguments["spatial_dims"]), 2 ** (levels - 1), weights


def _bundle_config(folder: Path) -> tuple[dict[str, Any], str]:
    for stem in BUNDLE_CONFIGS:
        for suffix in (".json", ".yaml", ".yml"):
            path = folder / "configs" / (stem + suffix)
            if path.is_file():
                if path.stat().st_size > MOST_BYTES:
                    raise PriorError(f"{path} has {path.stat().st_size} bytes, too many for a configuration.")
                try:
                    config = yaml.safe_load(path.read_text())  # JSON is YAML
                except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
                    raise PriorError(f"{path} could not be read ({first_line(error)}).") from error
                if not isinstance(config, dict):
                    raise PriorError(f"{path} holds no table of definitions.")
                return config, str(path)
    raise PriorError(f"{folder} is not a MONAI bundle: configs/inference.json (or train, or .yaml) is missing.")


def _resolve(value: Any, config: Mapping[str, Any], name: str, depth: int = 0, seen: list[int] | None = None) -> Any:
    """Follow ``@key`` and ``@key::inner`` references; refuse expressions, and what grows without end.

    ``seen`` holds how many values there were so far: a few references to references make millions.
    """
    seen = [0] if seen is None else seen
    seen[0] += 1
    if depth > 20:
        raise PriorError(f"{name} has references that lead in a circle.")
    if seen[0] > MOST_VALUES or (isinstance(value, int) and abs(value) > MOST_NUMBER):
        raise PriorError(f"{name} holds more values, or larger ones, than any network needs.")
    if isinstance(value, Mapping):
        return {str(key): _resolve(inner, config, name, depth + 1, seen) for key, inner in value.items()}
    if isinstance(value, list):
        return [_resolve(inner, config, name, depth + 1, seen) for inner in value]
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
        return _resolve(found, config, name, depth + 1, seen)
    return value
