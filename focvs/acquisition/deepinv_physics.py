"""The through-plane operator as a physics of deepinv, for its algorithms: ``pip install 'focvs[deepinv]'``."""

from __future__ import annotations

import torch
from deepinv.physics import DecomposablePhysics, GaussianNoise
from torch import Tensor
from torch.nn.functional import pad

from focvs.acquisition.linear_operator import MatrixOperator
from focvs.acquisition.resident import resident


def as_physics(operator: MatrixOperator, noise_sigma: float = 0.0) -> DecomposablePhysics:
    """A = U diag(s) V^T, so that deepinv's DDRM, pseudo-inverse and proximal steps are exact.

    Args:
        operator: acts on the last axis, ``(..., voxels)`` to ``(..., slices)``; :func:`focvs.operator` makes one.
        noise_sigma: standard deviation of the measurement's noise, in the units of the images.

    Returns:
        A physics for batches ``(b, c, ..., voxels)`` of any number of other axes, in the precision of each image.
    """
    left, values, right = torch.linalg.svd(operator.matrix)
    slices, missing = len(values), right.shape[0] - len(values)
    mask = pad(values, (0, missing)).float()

    def voxels_of(spectrum: Tensor) -> Tensor:
        return spectrum @ resident(right, spectrum)

    def spectrum_of(image: Tensor) -> Tensor:
        return image @ resident(right, image).T

    def slices_of(spectrum: Tensor) -> Tensor:
        return spectrum[..., :slices] @ resident(left, spectrum).T

    def back(measured: Tensor) -> Tensor:
        return pad(measured @ resident(left, measured), (0, missing))

    return DecomposablePhysics(
        U=slices_of,
        U_adjoint=back,
        V=voxels_of,
        V_adjoint=spectrum_of,
        mask=mask,
        noise_model=GaussianNoise(sigma=noise_sigma),
    )
