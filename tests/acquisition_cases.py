"""Through-plane operators of any kind, for the tests of laws."""

import torch

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import make_profile, sampled_profile

WEDGE = torch.tensor([[-3.0, 0.2], [-1.0, 1.0], [0.5, 0.9], [3.0, 0.0]], dtype=torch.float64)  # no symmetry


def through_plane(kind, thickness, gap, voxel, slices, ends):
    profile = sampled_profile(WEDGE) if kind == "wedge" else make_profile(kind, thickness)
    grid = make_grid(slices, thickness + gap, voxel, profile.half_support_mm)
    return ThroughPlaneOperator(profile, grid, ends)
