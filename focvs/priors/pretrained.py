"""Priors on disk: a diffusers folder (config.json, safetensors) with calibration.safetensors beside it."""

from __future__ import annotations

import hashlib
import json
import logging
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from focvs.errors import PriorError
from focvs.priors.calibration import ErrorTable
from focvs.priors.denoiser import EDMDenoiser
from focvs.priors.networks import HaarUNet2D

log = logging.getLogger(__name__)

WEIGHTS = "diffusion_pytorch_model.safetensors"
CALIBRATION = "calibration.safetensors"


@dataclass(frozen=True, eq=False)
class Prior:
    """A loaded prior.

    Attributes:
        denoise: 2D denoiser ``D(x, sigma)`` of ``(slices, 1, h, w)`` in prior units.
        errors: stored error table, or None.
        sha256: of the weights file.
        folder: where it came from.
    """

    denoise: nn.Module
    errors: ErrorTable | None
    sha256: str
    folder: Path


@lru_cache(maxsize=4)
def load_prior(folder: Path, device: str = "cpu") -> Prior:
    """Load a prior once per process and device.

    Args:
        folder: with ``config.json`` and ``diffusion_pytorch_model.safetensors``; never unpickled.
        device: torch device.

    Raises:
        PriorError: if the folder or a file is missing, truncated, or not one of our networks.
    """
    folder = Path(folder)
    config_path, weights = folder / "config.json", folder / WEIGHTS
    for path in (config_path, weights):
        if not path.is_file():
            raise PriorError(f"{path} is missing: a prior is a folder with config.json and {WEIGHTS}.")
    try:
        config = json.loads(config_path.read_text())
        kind = config.get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise PriorError(f"{config_path} is not a diffusers configuration ({error}); get the prior again.") from error
    if kind != "HaarUNet2D":
        raise PriorError(f"{config_path} describes a {kind}, and only HaarUNet2D can be loaded; choose another prior.")
    try:
        network = HaarUNet2D.from_pretrained(folder, use_safetensors=True, torch_dtype=torch.float32)
        sha256 = hashlib.sha256(weights.read_bytes()).hexdigest()
        errors = ErrorTable.load(folder / CALIBRATION) if (folder / CALIBRATION).is_file() else None
    except Exception as error:  # safetensors, diffusers and torch each raise their own kinds for a broken file
        raise PriorError(
            f"the files of {folder} could not be read ({_first_line(error)}); get the prior again."
        ) from error
    denoiser = EDMDenoiser(network, network.sigma_data)
    denoiser.eval().requires_grad_(False).to(device)
    log.info("loaded prior %s on %s", folder.name, device)
    return Prior(
        Inference(denoiser, device),
        errors,
        sha256,
        folder,
    )


def save_prior(network: HaarUNet2D, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the network as a diffusers folder, weights in ``dtype``."""
    if dtype != next(network.parameters()).dtype:
        network = deepcopy(network)
        for parameter in network.parameters():
            parameter.data = parameter.data.to(dtype)
    network.save_pretrained(folder, safe_serialization=True)
    (Path(folder) / WEIGHTS).chmod(0o644)  # safetensors writes files that only their owner can read


class Inference(nn.Module):
    """No gradients; bfloat16 autocast on CUDA, float32 elsewhere."""

    def __init__(self, denoiser: EDMDenoiser, device: str):
        super().__init__()
        self.denoiser = denoiser
        self.kind = torch.device(device).type

    @torch.inference_mode()
    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        with torch.autocast("cuda", dtype=torch.bfloat16) if self.kind == "cuda" else nullcontext():
            return self.denoiser(x, sigma).float()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
