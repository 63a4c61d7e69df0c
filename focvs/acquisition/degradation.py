"""Random multi-slice acquisitions of an image patch: slices along one of its axes, interpolated back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from focvs.acquisition.grid import make_grid
from focvs.acquisition.interpolation import interpolation_matrix
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import SliceProfile, gaussian_profile, rect_profile, slr_profile


@dataclass(frozen=True, eq=False)
class Degradation:
    """One acquisition along the last axis: image to slices to the interpolated scan.

    Attributes:
        slices: ``(m, n)`` matrix A, the image to thick slices.
        interpolate: ``(n, m)`` slices to the start of sampling: B-spline, then one exact replacement.
        thickness_px: FWHM of the profile in pixels.
        spacing_px: distance of slice centres in pixels.
    """

    slices: Tensor
    interpolate: Tensor
    thickness_px: float
    spacing_px: float

    def __call__(self, images: Tensor, noise_sigma: float = 0.0, noise: Tensor | None = None) -> Tensor:
        """The interpolated scan of ``images`` ``(..., n)``, with unit white ``noise`` ``(..., m)`` times its sigma."""
        scan = images @ self.slices.to(images).T
        if noise is not None:
            scan = scan + noise_sigma * noise
        return scan @ self.interpolate.to(images).T


def make_degradation(profile: SliceProfile, spacing_px: float, pixels: int, offset: float = 0.5) -> Degradation:
    """Slices of ``profile`` (in pixels) every ``spacing_px`` across ``pixels`` pixels and beyond both their ends.

    Args:
        profile: slice profile, widths in pixels.
        spacing_px: distance of slice centres.
        pixels: n.
        offset: phase of the slices against the pixels, 0 to 1 slices.

    Raises:
        ValueError: if a number is not positive.
    """
    slices = int(np.ceil((pixels + 2 * profile.half_support_mm) / spacing_px)) + 4
    grid = make_grid(slices, spacing_px, 1.0, profile.half_support_mm, keep_extent=False)
    operator = ThroughPlaneOperator(profile, grid, ends="edge")
    spare = grid.voxels - pixels
    first = min(spare, max(0, round(spare / 2 + (offset - 0.5) * spacing_px)))
    window = slice(first, first + pixels)
    # beyond the patch its end pixels continue
    matrix = operator.matrix[:, window].clone()
    matrix[:, 0] += operator.matrix[:, :first].sum(1)
    matrix[:, -1] += operator.matrix[:, first + pixels :].sum(1)
    return Degradation(
        matrix.float(), interpolation_matrix(operator)[window].float(), profile.fwhm_mm, float(spacing_px)
    )


def random_degradation(pixels: int, rng: np.random.Generator) -> Degradation:
    """An acquisition as clinics make them: 2-10 pixels apart, touching, gapped or slightly overlapping."""
    spacing = float(np.exp(rng.uniform(np.log(1.8), np.log(10.0))))
    kind = rng.random()
    ratio = 1.0 if kind < 0.5 else rng.uniform(0.6, 1.0) if kind < 0.85 else rng.uniform(1.0, 1.3)
    make = (gaussian_profile, gaussian_profile, gaussian_profile, rect_profile, slr_profile)[rng.integers(5)]
    return make_degradation(make(spacing * ratio), spacing, pixels, float(rng.random()))
