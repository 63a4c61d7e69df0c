"""Image metrics in a head mask. ``scale`` is the intensity that counts as 1, the 99.5th percentile of the truth.

Arrays are ``(a, b, n)`` on one grid, any units; masks are boolean and of the same shape.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import ndimage
from skimage.metrics import structural_similarity as _ssim

LOG_SIGMA = 1.5  # voxels, of the Laplacian of Gaussian in HFEN
GMS_CONSTANT = 170 / 255**2 / 4  # Xue et al. 2014, for gradients per voxel of intensities 0-1
EDGES = 0.95  # quantile of the true gradient from which a voxel is an edge
SHORTEST_COLUMN = 16  # voxels of head a column needs for its spectrum
DETAIL_VOXELS = 3.0


def peak_signal_to_noise(truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray, scale: float) -> float:
    """PSNR in dB over ``mask``: 20 log10(scale / root mean squared error), infinite where there is none."""
    error = np.sqrt(np.mean(_error(truth, estimate, mask) ** 2))
    return float(20 * np.log10(scale / error)) if error else math.inf


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


def normalised_error(truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray) -> float:
    """NRMSE: root mean squared error over the root mean square of the truth, in ``mask``."""
    return float(np.linalg.norm(_error(truth, estimate, mask)) / np.linalg.norm(truth[mask].astype(np.float64)))


def mean_absolute_error(truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray, scale: float) -> float:
    """MAE over ``mask``, as a fraction of ``scale``."""
    return float(np.abs(_error(truth, estimate, mask)).mean() / scale)


def high_frequency_error(truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray) -> float:
    """HFEN: norm of the Laplacian of Gaussian of the error over that of the truth (Ravishankar and Bresler 2011)."""
    truth, error = truth.astype(np.float32), (estimate - truth).astype(np.float32)
    filtered = [ndimage.gaussian_laplace(image, LOG_SIGMA)[mask].astype(np.float64) for image in (error, truth)]
    return float(np.linalg.norm(filtered[0]) / np.linalg.norm(filtered[1]))


def detail_correlation(truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray) -> float:
    """Pearson's correlation in the mask of what a Gaussian of :data:`DETAIL_VOXELS` leaves over of two volumes."""
    first, second = (
        (image - ndimage.gaussian_filter(image, DETAIL_VOXELS))[mask].astype(np.float64) for image in (truth, estimate)
    )
    if not (first.std() > 0 and second.std() > 0):
        return 0.0
    return float(np.corrcoef(first, second)[0, 1])


def gradient_similarity(truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray, scale: float) -> float:
    """Mean similarity of gradient magnitudes in 3-D, 1 for the truth (Xue et al. 2014, equation 4)."""
    first, second = (_gradient_magnitude(image / scale) for image in (truth, estimate))
    similarity = (2 * first * second + GMS_CONSTANT) / (first**2 + second**2 + GMS_CONSTANT)
    return float(similarity[mask].mean())


def edge_sharpness(truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray, axis: int = -1) -> float:
    """Mean gradient along ``axis`` at the truth's strongest edges, over the truth's own there: below 1 is blurred."""
    across, found = (np.gradient(image.astype(np.float32), axis=axis) for image in (truth, estimate))
    size = np.abs(across)
    edges = mask & (size >= np.quantile(size[mask], EDGES))
    return float((found[edges] * np.sign(across[edges])).sum() / size[edges].sum())


def spectrum_ratio(
    truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray, voxel_mm: float, axis: int = -1
) -> tuple[np.ndarray, np.ndarray]:
    """Power of the estimate over that of the truth along ``axis``, averaged over the columns of the head.

    Each column is cut to its head, tapered by a Hann window and padded to the whole length.

    Returns:
        ``(k,)`` frequencies in cycles per mm and ``(k,)`` ratios; columns of less than 16 voxels of head are left out.

    Raises:
        ValueError: if no column is long enough.
    """
    truth, estimate, mask = (np.moveaxis(image, axis, -1) for image in (truth, estimate, mask))
    n = truth.shape[-1]
    power = np.zeros((2, n // 2 + 1))
    inside = mask.any(-1)
    first, last = mask.argmax(-1), n - mask[..., ::-1].argmax(-1)
    lengths = np.where(inside, last - first, 0)
    for length in np.unique(lengths[lengths >= SHORTEST_COLUMN]):
        chosen = lengths == length
        index = first[chosen][:, None] + np.arange(length)
        for row, image in zip(power, (truth, estimate), strict=True):
            columns = np.take_along_axis(image[chosen].astype(np.float64), index, -1)
            tapered = (columns - columns.mean(-1, keepdims=True)) * np.hanning(length)
            row += (np.abs(np.fft.rfft(tapered, n)) ** 2).sum(0)
    if not power[0].any():
        raise ValueError(f"no column has {SHORTEST_COLUMN} voxels of head along that axis.")
    return np.arange(n // 2 + 1) / (n * voxel_mm), power[1] / power[0]


def _error(truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return (estimate.astype(np.float64) - truth)[mask]


def _gradient_magnitude(image: np.ndarray) -> np.ndarray:
    """Prewitt gradient per voxel: a unit ramp has 1."""
    gradient: np.ndarray = ndimage.generic_gradient_magnitude(image.astype(np.float32), ndimage.prewitt)
    return gradient / 18
