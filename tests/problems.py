import torch

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.reconstruction.baselines import Problem


def problem_of(volume, thickness=4.0, spacing=4.0, **numbers):
    """Slices of ``(p, q, n)`` voxels of 1 mm."""
    profile = gaussian_profile(thickness)
    grid = make_grid(round(volume.shape[-1] / spacing), spacing, 1.0, profile.half_support_mm)
    operator = ThroughPlaneOperator(profile, grid, "edge")
    y = operator(volume)
    return Problem(y, operator, torch.ones(y.shape, dtype=torch.bool), **numbers)
