"""A generated head."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from focvs.acquisition.simulation import rician


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
