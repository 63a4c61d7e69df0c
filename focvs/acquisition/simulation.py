"""Thick-slice scans made from thin-slice volumes, by a route that shares nothing with the inverse.

Each slice is a sum over many fine depths of the profile's density times the voxel found there, while
:mod:`focvs.acquisition.operator` takes differences of the cumulative profile at voxel edges.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
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


def head_phantom(shape: tuple[int, int, int] = (112, 128, 112), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A generated head: nested scalp, skull, fluid, folded cortex, white matter and ventricles at about 1.7 mm.

    Args:
        shape: voxels left-right, back-front, feet-head.
        seed: of folds, bias field and noise.

    Returns:
        ``(clean, noisy)`` float32, about 0-1: with bias field, and with bias field and 1 % Rician noise.
    """
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, n) * 1.02 for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)

    def smooth_noise(scale: float) -> np.ndarray:
        field = ndimage.gaussian_filter(rng.standard_normal(shape), scale)
        return field / field.std()

    unit = min(shape) / 112
    radius = np.sqrt((x / 0.78) ** 2 + (y / 0.92) ** 2 + (z / 0.86) ** 2) + 0.012 * smooth_noise(7 * unit)
    # level sets of a smooth random field wind like sulci; they fade towards the centre
    folds = np.sin(4.0 * smooth_noise(5.0 * unit)) * np.clip((radius - 0.42) / 0.3, 0, 1)
    fissure = np.abs(x + 0.012 * smooth_noise(6 * unit)) < 0.012
    head = np.zeros(shape)
    head[radius < 1.0] = 0.95  # scalp fat
    head[radius < 0.955] = 0.45  # muscle and skin
    head[radius < 0.93] = 0.08  # skull
    head[(radius < 0.905) & (radius > 0.885)] = 0.55  # marrow
    head[radius < 0.86] = 0.16  # cerebrospinal fluid
    head[(radius < 0.835) & (folds < 0.88)] = 0.47  # grey matter
    head[(radius < 0.78) & (folds < 0.3)] = 0.72  # white matter
    head[fissure & (z > 0.25) & (radius < 0.86)] = 0.16
    deep = ((np.abs(x) - 0.2) / 0.1) ** 2 + ((y - 0.05) / 0.22) ** 2 + (z / 0.16) ** 2 + 0.2 * smooth_noise(4 * unit)
    head[deep < 1] = 0.55
    horn = ((np.abs(x) - 0.09 - 0.1 * np.abs(y)) / 0.055) ** 2 + (y / 0.38) ** 2 + ((z - 0.16 + 0.2 * y**2) / 0.1) ** 2
    head[horn < 1] = 0.14
    vessels = np.abs(smooth_noise(4 * unit)) + np.abs(smooth_noise(4 * unit)) < 0.06
    head[vessels & (radius < 0.8)] *= 1.25
    clean = ndimage.gaussian_filter(head * (1 + 0.02 * smooth_noise(1.5 * unit)), 0.45)
    clean *= np.exp(0.12 * smooth_noise(40 * unit))
    noisy = rician(clean, 0.01, rng)
    return clean.astype(np.float32), noisy.astype(np.float32)
