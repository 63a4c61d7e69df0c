"""Networks in folders as diffusers keeps its own, without importing it, which takes more than a second."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, Self

import torch
from safetensors.torch import save_file
from torch import nn

from focvs.priors.weights import CONFIG, WEIGHTS, build


class FolderNetwork(nn.Module):
    """A network that is built from the numbers of ``config.json``, its weights beside it as safetensors.

    Attributes:
        config: the arguments it was built with.
    """

    config: dict[str, Any]

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> Self:
        """The network of a folder, in float32 whatever its weights are stored in.

        Raises:
            PriorError: for weights that are missing, broken, or not of this network.
            OSError, ValueError, TypeError: for a configuration that is.
        """
        content = json.loads((Path(folder) / CONFIG).read_text())
        known = inspect.signature(cls).parameters
        arguments = {key: value for key, value in content.items() if key in known}
        return build(lambda: cls(**arguments), Path(folder) / WEIGHTS, plain=True)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write ``config.json`` and the weights into a folder, which is made if need be."""
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        content = {"_class_name": type(self).__name__, **self.config}
        (place / CONFIG).write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")
        tensors = {
            name: value.contiguous(memory_format=torch.contiguous_format) for name, value in self.state_dict().items()
        }
        save_file(tensors, place / WEIGHTS, metadata={"format": "pt"})
