"""The orthonormal discrete cosine transform as a matrix."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def dct_matrix(n: int) -> Tensor:
    """Orthonormal DCT-II as an ``(n, n)`` float64 matrix, frequencies in rows."""
    k = torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi / n * (k[None, :] + 0.5) * k[:, None]) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix
