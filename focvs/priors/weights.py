"""Weights of networks, read without running code."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from focvs.errors import PriorError, first_line

N = TypeVar("N", bound=nn.Module)
CONFIG = "config.json"
WEIGHTS_STEM = "diffusion_pytorch_model"  # as diffusers names it, .safetensors or .bin
WEIGHTS = f"{WEIGHTS_STEM}.safetensors"


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


def build(make: Callable[[], N], path: Path, *, plain: bool = False) -> N:
    """A network with the weights of a file; it is not allocated unless they are its own.

    Args:
        make: builds the network.
        path: of the weights.
        plain: whether its weights are all the numbers that it holds; then no random ones are drawn first.

    Raises:
        PriorError: as :func:`read_weights`, and unless every name and shape agrees.
    """
    weights = read_weights(path)
    with torch.device("meta"):  # shapes without memory: a configuration may promise anything
        network = make()
    require_fit(network, weights, path)
    if plain:
        # copied: a file that is mapped is aligned otherwise, which changes last bits, and may change underneath
        copies = {name: value.to(torch.float32, copy=True) for name, value in weights.items()}
        network.load_state_dict(copies, assign=True)
        return network
    network = make()
    fill(network, weights, path)
    return network


def fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load ``weights`` into ``network``.

    Raises:
        PriorError: unless every name and shape agrees.
    """
    require_fit(network, weights, path)
    network.load_state_dict({name: value.float() for name, value in weights.items()})


def require_fit(network: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are not those of a network.

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


def sha256_of(path: Path) -> str:
    """Of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
