"""focvs weights: which weights there are, whether they are whole, and more of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from focvs.commands.overrides import UsageError
from focvs.config import checkpoints_dir
from focvs.errors import FocvsError, PriorError
from focvs.priors.own import is_own
from focvs.priors.own_weights import add_weights, resolve, weights_dir
from focvs.priors.pretrained import load_prior
from focvs.priors.weights import read_weights, sha256_of

USAGE = "focvs weights [list], focvs weights verify [NAME ...], or focvs weights add NAME FOLDER_OR_HUB_ID"


def manage_weights(words: Sequence[str]) -> bool:
    """Do what the words after ``focvs weights`` say.

    Returns:
        Whether everything that was verified is whole.

    Raises:
        UsageError: for other words.
        PriorError: as :func:`focvs.priors.own_weights.add_weights`.
    """
    action, names = (words[0] if words else "list"), list(words[1:])
    if action == "list" and not names:
        for folder in known():
            size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            print(f"{folder.name:20s}{size / 2**20:8.1f} MiB  {folder}")
        return True
    if action == "verify":
        folders = [Path(resolve(name)) if name not in shipped() else shipped()[name] for name in names] or known()
        return all([_verified(folder) for folder in folders])
    if action == "add" and len(names) == 2:
        print(f"added {add_weights(*names)}; use them with path={names[0]}")
        return True
    raise UsageError(f"{' '.join(['weights', *words])} is not understood; write {USAGE}.")


def shipped() -> dict[str, Path]:
    """Folders of the weights that come with the program, by name."""
    return {path.name: path for path in sorted(checkpoints_dir().glob("*")) if path.is_dir()}


def known() -> list[Path]:
    """Those, and the folders that were added."""
    added = weights_dir().glob("*") if weights_dir().is_dir() else ()
    return [*shipped().values(), *sorted(path for path in added if path.is_dir() and not path.name.startswith("."))]


def _verified(folder: Path) -> bool:
    """Print whether every file of weights of a folder can be read and holds finite numbers, and its prior loads."""
    files = sorted(folder.rglob("*.safetensors")) if folder.is_dir() else []
    try:
        if not files:
            raise PriorError(f"{folder} holds no safetensors; give a folder of weights.")
        for file in files:
            for name, tensor in read_weights(file).items():
                if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                    raise PriorError(f"{file}: {name} has numbers that are not finite; get it again.")
        prior = f"prior {load_prior(folder).sha256}" if is_own(folder) else "of another kind, whole"
    except FocvsError as error:
        print(f"broken  {folder.name}: {error}")
        return False
    for file in files:
        print(f"        {sha256_of(file)}  {file.relative_to(folder)}")
    print(f"works   {folder.name}: {prior}")
    return True
