"""What noise adds to magnitudes in the mean, and scans without it."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from focvs.scan.scan import Scan

BIAS_WINDOW = 3  # pixels of the neighbourhoods a local signal is taken from


def unbias(scan: Scan, noise_intensity: float) -> Scan:
    """The scan less what Rician noise adds to its magnitudes in the mean.

    Args:
        scan: one with negative values is no magnitude and stays as it is.
        noise_intensity: standard deviation in the scan's intensities, above 0.
    """
    if scan.data.min() < 0:
        return scan
    warning = (
        f"magnitudes with noise of {noise_intensity:.3g} are too bright where there is little signal "
        f"(by {1.25 * noise_intensity:.3g} where there is none): that was taken off, and residuals are against the "
        "rest; rician_bias=off leaves it in."
    )
    data = remove_rician_bias(torch.from_numpy(scan.data), noise_intensity).numpy()
    return replace(scan, data=data, warnings=(*scan.warnings, warning))


def rician_bias(signal: Tensor, sigma: float) -> Tensor:
    """What noise adds to a magnitude in the mean: E[M] - A (of the density of Gudbjartsson and Patz 1995, equation 1).

    sigma sqrt(pi/2) for no signal, about sigma^2 / (2 A) for much.

    Args:
        signal: A, at least 0.
        sigma: standard deviation of the noise of either channel, above 0.
    """
    ratio = signal.square() / (2 * sigma**2)
    bessel = (1 + ratio) * torch.special.i0e(ratio / 2) + ratio * torch.special.i1e(ratio / 2)
    return sigma * math.sqrt(math.pi / 2) * bessel - signal


def remove_rician_bias(scan: Tensor, sigma: float) -> Tensor:
    """Subtract the Rician bias: the mean is then the signal (in air within a quarter of sigma), and the noise stays.

    The signal is found from the mean square of 3 x 3 neighbourhoods in the slice, which is A^2 + 2 sigma^2, not from
    single pixels, whose noise would come back as a bias. Pixels of exactly zero, a background set so, stay zero and
    count for none.

    Args:
        scan: ``(p, q, m)`` magnitudes.
        sigma: standard deviation of the noise, above 0.
    """

    def total(values: Tensor) -> Tensor:
        return F.avg_pool2d(values.movedim(-1, 0)[:, None], BIAS_WINDOW, 1, BIAS_WINDOW // 2)[:, 0].movedim(0, -1)

    kept = scan != 0
    mean_square = total(scan.square()) / total(kept.to(scan)).clamp_min(1e-6)
    signal = (mean_square - 2 * sigma**2).clamp_min(0).sqrt()
    return torch.where(kept, scan - rician_bias(signal, sigma), scan)
