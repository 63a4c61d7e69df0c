"""Cubic B-spline interpolation from slices to voxels with the same field of view."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from focvs.acquisition.grid import ThroughPlaneGrid
from focvs.acquisition.operator import ThroughPlaneOperator

OVERLAP_CONDITION = 10.0  # above this, exact replacement amplifies noise (design section 1)


def spline_matrix(grid: ThroughPlaneGrid, *, margins: bool = True) -> Tensor:
    """``(voxels, slices)`` float64 matrix of cubic B-spline interpolation; rows sum to 1.

    Beyond the outermost slice centres the outermost slice continues.

    Args:
        grid: slices and voxels.
        margins: whether the rows include the margins of the grid.
    """
    index = grid.voxel_places.clamp(0, grid.slices - 1).numpy()
    columns = [ndimage.map_coordinates(unit, index[None], order=3, mode="nearest") for unit in np.eye(grid.slices)]
    matrix = torch.from_numpy(np.stack(columns, axis=1))
    return matrix if margins else grid.crop(matrix.T).T


def interpolation_matrix(operator: ThroughPlaneOperator) -> Tensor:
    """``(voxels, slices)`` start of sampling: cubic B-spline, then one exact replacement unless slices overlap."""
    spline = spline_matrix(operator.grid, margins=operator.ends == "margin")
    if operator.condition_number > OVERLAP_CONDITION:
        return spline
    unknown = torch.eye(operator.matrix.shape[0], dtype=torch.float64) - operator.matrix @ spline
    return spline + operator.pseudo_inverse_matrix @ unknown
