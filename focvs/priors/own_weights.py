"""Weights that the user added: folders of checkpoints under names of their own."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from focvs.errors import PriorError, first_line

VARIABLE = "FOCVS_WEIGHTS"  # environment variable that names the folder
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")
WANTED = ("*.safetensors", "*.json", "*.md")  # files of a hub's repository that are taken: no code


def weights_dir(environment: Mapping[str, str] | None = None) -> Path:
    """The folder of added weights: ``FOCVS_WEIGHTS``, else ``focvs/weights`` in the user's data folder."""
    variables = os.environ if environment is None else environment
    if variables.get(VARIABLE):
        return Path(variables[VARIABLE])
    return Path(variables.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "focvs" / "weights"


def resolve(path: str) -> str:
    """The folder of weights that were added under a name, where nothing of that name lies here; else ``path``."""
    added = weights_dir() / path
    return str(added) if NAME.fullmatch(path) and not Path(path).exists() and added.exists() else path


def add_weights(name: str, source: str) -> Path:
    """Copy a checkpoint, a file or folder or the repository of a hub, to where ``path=name`` finds it.

    Raises:
        PriorError: for a name that is none or is taken, or a source that is not there or cannot be fetched.
    """
    if not NAME.fullmatch(name):
        raise PriorError(f"{name} is no name for weights; take letters, numbers, dots, dashes and underscores.")
    target = weights_dir() / name
    if target.exists():
        raise PriorError(f"{target} is there already; remove it, or take another name.")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{name}.{os.getpid()}.part")
    try:
        if Path(source).is_dir():
            shutil.copytree(source, part)
        elif Path(source).is_file():
            part.mkdir()
            shutil.copy(source, part)
        else:
            _fetch(source, part)
        os.replace(part, target)
    except OSError as error:
        raise PriorError(
            f"{source} could not be copied to {target} ({error.strerror or first_line(error)})."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _fetch(repository: str, folder: Path) -> None:
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(repository, local_dir=folder, allow_patterns=list(WANTED))
    except Exception as error:  # of the network or the hub: of many kinds
        raise PriorError(
            f"{repository} is no file or folder here, and could not be fetched as the repository of a hub "
            f"({first_line(error)})."
        ) from error
