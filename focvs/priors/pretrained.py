"""Priors on disk: our diffusers folders (config.json, safetensors, calibration.safetensors) and other people's."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor, nn

from focvs.errors import PriorError, first_line
from focvs.priors.bundles import monai_denoiser
from focvs.priors.condition import ScanCondition
from focvs.priors.denoiser import EDMDenoiser
from focvs.priors.error_table import CALIBRATION, ErrorTable
from focvs.priors.foreign import (
    AUTO,
    MEDFORJ_SHAPE,
    MEDFORJ_VOXEL_MM,
    WEIGHTS_STEM,
    diffusers_denoiser,
    medforj_denoiser,
)
from focvs.priors.intervals import IntervalTable
from focvs.priors.networks import HaarUNet2D
from focvs.priors.volumetric import Padded, Rescaled
from focvs.priors.weights import sha256_of

log = logging.getLogger(__name__)

WEIGHTS = f"{WEIGHTS_STEM}.safetensors"
INTERVALS = "intervals.json"
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Prior:
    """A loaded prior.

    Attributes:
        denoise: ``D(x, sigma)`` of ``(slices, 1, h, w)``, or of ``(b, 1, x, y, z)`` for a 3D prior, in its units; a
            conditioned one takes a :class:`focvs.priors.condition.ScanCondition` as well.
        errors: stored error table, or None.
        sha256: of the weights file.
        path: of the weights file.
        conditioned: whether it wants to be told of the scan.
        dimensions: 2 or 3.
        scaling: what its +1 is, the ``percentile`` 99.5 of the scan or its ``maximum``.
        axes: where the axes of a 3D prior point, such as ``LPS``; empty for the scan's own, slice axis last.
        shape: fixed field of view of a 3D prior in voxels, or None.
        multiple: sizes it takes are multiples of this.
        mirrored: whether it was trained on mirrored images, and if 3D with its first two axes in both orders.
        slab: slices a 2D prior sees around the one it denoises, itself included.
        voxel_range_mm: in-plane voxels it was trained on, or None where that is not known.
        intervals: stored table of interval widths, in predictive deviations of its samples, or None.
    """

    denoise: Callable[..., Tensor]
    errors: ErrorTable | None
    sha256: str
    path: Path
    conditioned: bool = False
    dimensions: int = 2
    scaling: str = "percentile"
    axes: str = "RAS"
    shape: tuple[int, int, int] | None = None
    multiple: int = 1
    mirrored: bool = False
    slab: int = 1
    voxel_range_mm: tuple[float, float] | None = None
    intervals: IntervalTable | None = None

    def in_units_of(self, white: float, maximum: float) -> Callable[..., Tensor]:
        """The denoiser for volumes whose ``white`` level is +1, whatever +1 is for the prior.

        Args:
            white: white level of the scan.
            maximum: of the scan.
        """
        return Rescaled(self.denoise, white / maximum) if self.scaling == "maximum" else self.denoise


KINDS = ("focvs", "diffusers", "medforj", "monai")


def load_prior(path: str | Path, device: str = "cpu", kind: str = "focvs", prediction: str = AUTO) -> Prior:
    """Load a prior: its weights once per process and device, the tables beside them as they now are.

    Args:
        path: of ``focvs``, a folder with ``config.json`` and ``diffusion_pytorch_model.safetensors``; of others see
            :mod:`focvs.priors.foreign`. Nothing is unpickled.
        device: torch device.
        kind: one of :data:`KINDS`.
        prediction: what a foreign network predicts, or ``auto`` for what its configuration says.

    Raises:
        PriorError: if the kind is unknown, or a file is missing, truncated, or not such a network.
    """
    prior = _load_weights(path, device, kind, prediction, _written_at(Path(path)))
    return replace(
        prior,
        errors=_stored(prior, CALIBRATION, ErrorTable.load),
        intervals=_stored(prior, INTERVALS, IntervalTable.load),
    )


def _written_at(path: Path) -> tuple[int, ...]:
    """When the files of a prior were last written: weights that changed are not those in the cache."""
    files = [path] if path.is_file() else [path / name for name in (WEIGHTS, "config.json")]
    return tuple(file.stat().st_mtime_ns for file in files if file.is_file())


@lru_cache(maxsize=4)
def _load_weights(path: str | Path, device: str, kind: str, prediction: str, written: tuple[int, ...]) -> Prior:
    if kind == "focvs":
        prior = _load_own(Path(path), device)
    elif kind == "diffusers":
        denoiser, multiple, weights = diffusers_denoiser(path, prediction)
        prior = Prior(Padded(_ready(denoiser, device), multiple), None, sha256_of(weights), weights)
    elif kind == "medforj":
        denoiser, weights = medforj_denoiser(Path(path), prediction)
        prior = Prior(
            _ready(denoiser, device),
            None,
            sha256_of(weights),
            weights,
            dimensions=3,
            scaling="maximum",
            axes="LPS",
            shape=MEDFORJ_SHAPE,
            voxel_range_mm=MEDFORJ_VOXEL_MM,
        )
    elif kind == "monai":
        denoiser, dimensions, multiple, weights = monai_denoiser(Path(path), prediction)
        ready: Callable[..., Tensor] = _ready(denoiser, device)
        if dimensions == 2:
            ready = Padded(ready, multiple)
        prior = Prior(ready, None, sha256_of(weights), weights, dimensions=dimensions, multiple=multiple)
    else:
        raise PriorError(f"prior.kind={kind} is not known; choose one of {', '.join(KINDS)}.")
    log.info("loaded prior %s on %s", path, device)
    return prior


def _stored(prior: Prior, name: str, load: Callable[[Path], T]) -> T | None:
    """A table of a prior, or None where it has none.

    Raises:
        PriorError: if it is broken.
    """
    path = beside(prior, name)
    if not path.is_file():
        return None
    try:
        return load(path)
    except Exception as error:  # safetensors raises its own kinds for a broken file
        raise PriorError(f"{path} could not be read ({first_line(error)}); delete it or measure it again.") from error


def beside(prior: Prior, name: str) -> Path:
    """Where a table of a prior is: beside its weights, under their name where they are one file of many."""
    if prior.path.stem == WEIGHTS_STEM:
        return prior.path.parent / name
    return prior.path.with_suffix("." + name)


def _load_own(folder: Path, device: str) -> Prior:
    config_path, weights = folder / "config.json", folder / WEIGHTS
    for path in (config_path, weights):
        if not path.is_file():
            raise PriorError(f"{path} is missing: a prior is a folder with config.json and {WEIGHTS}.")
    try:
        config = json.loads(config_path.read_text())
        kind = config.get("_class_name")
    except (OSError, ValueError, AttributeError) as error:
        raise PriorError(f"{config_path} is not a diffusers configuration ({error}); get the prior again.") from error
    network_class: Any = HaarUNet2D
    if kind == "HaarUNet3D":
        from focvs.priors.networks3d import HaarUNet3D

        network_class = HaarUNet3D
    elif kind != "HaarUNet2D":
        raise PriorError(
            f"{config_path} describes a {kind}, not a HaarUNet2D; try prior=diffusers prior.path={folder}."
        )
    try:
        network = network_class.from_pretrained(folder, use_safetensors=True, torch_dtype=torch.float32)
    except Exception as error:  # safetensors, diffusers and torch each raise their own kinds for a broken file
        raise PriorError(
            f"the files of {folder} could not be read ({first_line(error)}); get the prior again."
        ) from error
    denoiser = _ready(EDMDenoiser(network), device)
    dimensions = 3 if kind == "HaarUNet3D" else 2
    trained = network.trained or {}
    voxel_range_mm = trained.get("voxel_range_mm")
    return Prior(
        denoiser,
        None,
        sha256_of(weights),
        weights,
        network.conditioned,
        dimensions=dimensions,
        axes="",
        multiple=network.multiple,
        mirrored=bool(trained.get("mirrored")),
        slab=network.slab if dimensions == 2 else 1,
        voxel_range_mm=voxel_range_mm and (float(voxel_range_mm[0]), float(voxel_range_mm[1])),
    )


def _ready(denoiser: nn.Module, device: str) -> Inference:
    denoiser.eval().requires_grad_(False).to(device)
    return Inference(denoiser, device)


def save_prior(network: ModelMixin, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write the network as a diffusers folder, weights in ``dtype``."""
    if dtype != next(network.parameters()).dtype:
        network = deepcopy(network)
        for parameter in network.parameters():
            parameter.data = parameter.data.to(dtype)
    network.save_pretrained(folder, safe_serialization=True)
    (Path(folder) / WEIGHTS).chmod(0o644)  # safetensors writes files that only their owner can read


class Inference(nn.Module):
    """No gradients of weights; bfloat16 autocast on CUDA, float32 elsewhere."""

    def __init__(self, denoiser: nn.Module, device: str):
        super().__init__()
        self.denoiser = denoiser
        self.kind = torch.device(device).type

    def forward(self, x: Tensor, sigma: float | Tensor, *condition: ScanCondition) -> Tensor:
        with torch.autocast("cuda", dtype=torch.bfloat16) if self.kind == "cuda" else nullcontext():
            return self.denoiser(x, sigma, *condition).float()
