"""Image metrics in a head mask. ``scale`` is the intensity that counts as 1, the 99.5th percentile of the truth."""

from __future__ import annotations

import numpy as np
from skimage.metrics import structural_similarity as _ssim


def peak_signal_to_noise(truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray, scale: float) -> float:
    """PSNR in dB over ``mask``: 20 log10(scale / root mean squared error)."""
    error = (estimate.astype(np.float64) - truth)[mask]
    return float(20 * np.log10(scale / np.sqrt(np.mean(error**2))))


def structural_similarity(truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray, scale: float) -> float:
    """3-D SSIM with Gaussian weights of 1.5 voxels (Wang et al. 2004), averaged over ``mask``."""
    _, full = _ssim(
        (truth / scale).astype(np.float32),
        (estimate / scale).astype(np.float32),
        data_range=1.0,
        gaussian_weights=True,
        use_sample_covariance=False,
        full=True,
    )
    return float(full[mask].mean())
