"""The orthonormal Haar transform of images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def haar(x: Tensor) -> Tensor:
    """Orthonormal 2 x 2 Haar transform, ``(b, c, h, w)`` to ``(b, 4c, h/2, w/2)``; white noise stays white.

    Raises:
        RuntimeError: if h or w is odd.
    """
    a, b, c, d = _unshuffle(x)
    return torch.cat([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], dim=1) / 2


def haar_inverse(x: Tensor) -> Tensor:
    """Inverse (and adjoint) of :func:`haar`."""
    a, b, c, d = x.chunk(4, dim=1)
    parts = torch.stack([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], dim=2) / 2
    return F.pixel_shuffle(parts.flatten(1, 2), 2)


def _unshuffle(x: Tensor) -> tuple[Tensor, ...]:
    batch, channels, height, width = x.shape
    blocks = F.pixel_unshuffle(x, 2).view(batch, channels, 4, height // 2, width // 2)
    return blocks.unbind(2)
