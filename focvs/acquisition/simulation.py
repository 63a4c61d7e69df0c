"""Thick-slice scans made from thin-slice volumes, by a route that shares nothing with the inverse.

Each slice is a sum over many fine depths of the profile's density times the voxel found there, while
:mod:`focvs.acquisition.operator` takes differences of the cumulative profile at voxel edges.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.profile import SliceProfile


def simulate_slices(volume: np.ndarray, voxel_mm: float, profile: SliceProfile, spacing_mm: float) -> np.ndarray:
    """Degrade the last axis of a volume into thick slices, centred in its field of view.

    Args:
        volume: ``(..., n)`` intensities on voxels of ``voxel_mm`` along the last axis.
        voxel_mm: voxel size along the last axis in mm.
        profile: slice profile.
        spacing_mm: distance of slice centres in mm; as many whole slices as fit the field of view
            (to a thousandth of a slice) are made.

    Returns:
        ``(..., m)`` float32. Beyond the field of view the end voxels continue.

    Raises:
        ValueError: if not even one slice fits.
    """
    n = volume.shape[-1]
    slices = int(n * voxel_mm / spacing_mm + 1e-3)
    if slices < 1:
        raise ValueError(f"no slice of {spacing_mm} mm fits into a field of view of {n * voxel_mm:.4g} mm.")
    centres = (np.arange(slices) - (slices - 1) / 2) * spacing_mm
    step = min(voxel_mm, profile.fwhm_mm) / 32
    half = int(np.ceil(profile.half_support_mm / step))
    depths = np.arange(-half, half + 1) * step
    weights = _density(profile, torch.from_numpy(depths), step).numpy()
    weights /= weights.sum()
    index = (centres[:, None] + depths[None]) / voxel_mm + (n - 1) / 2
    voxel = np.clip(np.rint(index), 0, n - 1).astype(int)
    rows = np.stack([np.bincount(v, weights, minlength=n) for v in voxel])
    return np.asarray(volume, dtype=np.float32) @ rows.T.astype(np.float32)


def _density(profile: SliceProfile, z_mm: Tensor, step_mm: float) -> Tensor:
    """Mean density of the profile in a cell of ``step_mm`` around each depth."""
    half = step_mm / 2
    return (profile.cumulative(z_mm + half) - profile.cumulative(z_mm - half)) / step_mm


def rician(image: np.ndarray, sigma: float, rng: np.random.Generator) -> np.ndarray:
    """The magnitude of ``image`` with complex Gaussian noise (Gudbjartsson and Patz 1995, equation 1)."""
    noise = rng.normal(0, sigma, (2, *image.shape)).astype(np.float32)
    return np.hypot(image + noise[0], noise[1])
