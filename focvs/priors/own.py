"""Priors of this project on disk: diffusers folders (config.json and safetensors), and folders within them."""

from __future__ import annotations

import hashlib
import importlib
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from focvs.errors import PriorError, first_line
from focvs.priors.denoiser import EDMDenoiser
from focvs.priors.folder_network import FolderNetwork
from focvs.priors.mean import SlabDenoiser
from focvs.priors.mean_network import GUIDED_IMAGES, DeviationUNet2D, MeanUNet2D
from focvs.priors.prior import Inference, Prior
from focvs.priors.residual_network import ResidualDenoiser, ResidualUNet2D
from focvs.priors.weights import CONFIG, WEIGHTS, build, sha256_of

STAGE, GUIDED, DEVIATION, RESIDUAL = "stage{}", "guided", "deviation", "residual"  # folders inside that of a mean
KNOWN = ("DiffusionUNet2D", "HaarUNet2D", "HaarUNet3D", "MeanUNet2D")
MODULES = {"DiffusionUNet2D": "diffusion_network", "HaarUNet2D": "networks", "HaarUNet3D": "networks3d"}


def load_own(folder: Path, device: str) -> Prior:
    """A prior of ours: a diffusion prior, or a mean with later stages, ``guided``, ``deviation`` and ``residual``.

    A guided stage may hold the ``deviation`` of its own mean.

    Raises:
        PriorError: if a file is missing, truncated, or not such a network.
    """
    kind = _kind(folder)
    if kind not in KNOWN:
        raise PriorError(
            f"{folder / 'config.json'} describes a {kind}, none of {', '.join(KNOWN)}; "
            f"try prior=diffusers prior.path={folder}."
        )
    if kind == "MeanUNet2D":
        return _load_mean(folder, device)
    # imported here, as diffusers and MONAI take seconds that a mean does not need
    volumetric = kind == "HaarUNet3D"
    module = importlib.import_module(f"focvs.priors.{MODULES[kind]}")
    network = _read(getattr(module, kind), folder)
    return Prior(
        Inference(EDMDenoiser(network), device),
        None,
        sha256_of(folder / WEIGHTS),
        folder / WEIGHTS,
        network.conditioned,
        dimensions=3 if volumetric else 2,
        axes="",
        multiple=network.multiple,
        mirrored=bool((network.trained or {}).get("mirrored")),
        slab=1 if volumetric else network.slab,
        voxel_range_mm=_voxel_range(network),
    )


def _load_mean(folder: Path, device: str) -> Prior:
    first = _read(MeanUNet2D, folder)
    folders = [folder]
    while (later := folder / STAGE.format(len(folders) + 1)).is_dir():
        folders.append(later)
    stages = [_read(MeanUNet2D, later) for later in folders[1:]]
    guided = _read(MeanUNet2D, folder / GUIDED) if (folder / GUIDED).is_dir() else None
    guided_deviation = None
    if guided and (folder / GUIDED / DEVIATION).is_dir():
        guided_deviation = _read(DeviationUNet2D, folder / GUIDED / DEVIATION)
    for network, place in ((guided, folder / GUIDED), (guided_deviation, folder / GUIDED / DEVIATION)):
        if network and network.images != GUIDED_IMAGES:
            raise PriorError(f"{place} sees {network.images} images and not {GUIDED_IMAGES}; get the prior again.")
    deviation = _read(DeviationUNet2D, folder / DEVIATION) if (folder / DEVIATION).is_dir() else None
    residual = _read(ResidualUNet2D, folder / RESIDUAL) if (folder / RESIDUAL).is_dir() else None
    if residual and not deviation:
        raise PriorError(f"{folder / RESIDUAL} needs {folder / DEVIATION}, which is missing; get the prior again.")
    if guided_deviation and not deviation:
        raise PriorError(
            f"{folder / GUIDED / DEVIATION} needs {folder / DEVIATION}, which is missing; get the prior again."
        )
    others = {GUIDED: guided, DEVIATION: deviation, RESIDUAL: residual}
    for network in (*stages, *filter(None, (*others.values(), guided_deviation))):
        if network.slab != first.slab:
            raise PriorError(f"{folder} has stages of {first.slab} and of {network.slab} slices; get the prior again.")
    folders += [folder / name for name, network in others.items() if network and name != GUIDED]
    of_guides = [folder / GUIDED] * bool(guided) + [folder / GUIDED / DEVIATION] * bool(guided_deviation)
    return Prior(
        Inference(SlabDenoiser(first), device),
        None,
        _hash_of(folders),
        folder / WEIGHTS,
        True,
        axes="",
        multiple=first.multiple,
        mirrored=bool((first.trained or {}).get("mirrored")),
        slab=first.slab,
        voxel_range_mm=_voxel_range(first),
        samples=False,
        stages=tuple(Inference(SlabDenoiser(stage), device) for stage in stages),
        guided=Inference(SlabDenoiser(guided), device) if guided else None,
        guided_deviation=Inference(SlabDenoiser(guided_deviation), device) if guided_deviation else None,
        guided_sha256=_hash_of(of_guides) if of_guides else None,
        deviation=Inference(SlabDenoiser(deviation), device) if deviation else None,
        residual=Inference(ResidualDenoiser(residual), device) if residual else None,
    )


def _hash_of(folders: list[Path]) -> str:
    """SHA-256 of the weights of a folder; of several, of theirs one after the other."""
    hashes = [sha256_of(folder / WEIGHTS) for folder in folders]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def is_own(folder: Path) -> bool:
    """Whether a folder says that it holds a prior of this project.

    Raises:
        PriorError: if what it says cannot be read.
    """
    return (folder / CONFIG).is_file() and (folder / WEIGHTS).is_file() and _kind(folder) in KNOWN


def _kind(folder: Path) -> str:
    """What ``config.json`` says the network is."""
    for path in (folder / CONFIG, folder / WEIGHTS):
        if not path.is_file():
            raise PriorError(f"{path} is missing: a prior is a folder with config.json and {WEIGHTS}.")
    try:
        return str(json.loads((folder / CONFIG).read_text()).get("_class_name"))
    except (OSError, ValueError, AttributeError) as error:
        raise PriorError(
            f"{folder / 'config.json'} is not a diffusers configuration ({error}); get the prior again."
        ) from error


def _read(network_class: Any, folder: Path) -> Any:
    """The network of a folder."""
    if (kind := _kind(folder)) != network_class.__name__:
        raise PriorError(f"{folder} holds a {kind}, not a {network_class.__name__}; get the prior again.")
    try:
        if issubclass(network_class, FolderNetwork):
            return network_class.from_pretrained(folder)
        content = json.loads((folder / CONFIG).read_text())
        return build(lambda: network_class.from_config(content), folder / WEIGHTS)
    except PriorError:
        raise
    except Exception as error:  # safetensors, diffusers and torch each raise their own kinds for a broken file
        raise PriorError(
            f"the files of {folder} could not be read ({first_line(error)}); get the prior again."
        ) from error


def _voxel_range(network: Any) -> tuple[float, float] | None:
    """In-plane voxels a network was trained on."""
    known = (network.trained or {}).get("voxel_range_mm")
    return known and (float(known[0]), float(known[1]))


def save_prior(network: Any, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a network of this project as a diffusers folder, weights in ``dtype``."""
    if dtype != next(network.parameters()).dtype:
        network = deepcopy(network)
        for parameter in network.parameters():
            parameter.data = parameter.data.to(dtype)
    network.save_pretrained(folder)
    (Path(folder) / WEIGHTS).chmod(0o644)  # safetensors writes files that only their owner can read
