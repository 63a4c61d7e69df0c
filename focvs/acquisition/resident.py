"""Small tensors that stay on the device they are used on, so that no step of a sampler waits for the host."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

_copies = WeakIdKeyDictionary()


def resident(tensor: Tensor, like: Tensor, *, keep_type: bool = False) -> Tensor:
    """``tensor`` on the device and in the precision of ``like``; copied once, and kept for as long as ``tensor`` is.

    Args:
        tensor: never changed in place afterwards.
        like: of whose device and type it is wanted.
        keep_type: only the device is that of ``like``; for indices.
    """
    dtype = tensor.dtype if keep_type else like.dtype
    if (tensor.device, tensor.dtype) == (like.device, dtype):
        return tensor
    # a copy made in inference mode cannot take part in a gradient
    key = (like.device, dtype, torch.is_inference_mode_enabled())
    copies = _copies.setdefault(tensor, {})
    if key not in copies:
        copies[key] = tensor.to(like.device, dtype)
    return copies[key]
