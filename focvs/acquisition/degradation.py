"""Simulated acquisitions of an image patch: slices along its last axis, and those interpolated back to its pixels."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from focvs.acquisition.grid import make_grid
from focvs.acquisition.interpolation import interpolation_matrix
from focvs.acquisition.linear_operator import MatrixOperator
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import SliceProfile, gaussian_profile, rect_profile, slr_profile


class Degradation(MatrixOperator):
    """One acquisition along the last axis of a patch, ``(..., n)`` pixels to ``(..., m)`` slices.

    Args:
        matrix: ``(m, n)`` float64, image to thick slices.
        interpolation: ``(n, m)`` float64, slices to the start of sampling: B-spline, then one exact replacement.
        thickness_px: FWHM of the profile in pixels.
        spacing_px: distance of slice centres in pixels.
    """

    def __init__(self, matrix: Tensor, interpolation: Tensor, thickness_px: float, spacing_px: float):
        super().__init__(matrix)
        self.interpolation, self.thickness_px, self.spacing_px = interpolation, thickness_px, spacing_px

    @property
    def slices(self) -> int:
        """How many there are, m."""
        return len(self.matrix)

    def interpolated(self, images: Tensor, noise_sigma: float = 0.0, noise: Tensor | None = None) -> Tensor:
        """The interpolated scan of ``images`` ``(..., n)``, with unit white ``noise`` ``(..., m)`` times its sigma."""
        scan = self.forward(images)
        if noise is not None:
            scan = scan + noise_sigma * noise
        return scan @ self.interpolation.to(images).T


def make_degradation(profile: SliceProfile, spacing_px: float, pixels: int, phase: float = 0.5) -> Degradation:
    """Slices of ``profile`` (in pixels) every ``spacing_px`` across ``pixels`` pixels and beyond both their ends.

    Args:
        profile: slice profile, widths in pixels.
        spacing_px: distance of slice centres.
        pixels: n.
        phase: the middle of the patch lies this part of a spacing, 0 to 1, beyond the centre of a slice.

    Raises:
        ValueError: if a number is not positive.
    """
    slices = int(np.ceil((pixels + 2 * profile.half_support_mm) / spacing_px)) + 6
    voxels = round(slices * spacing_px)
    first = (voxels - pixels) // 2
    middle = first + pixels / 2 - voxels / 2  # of the patch, from that of the voxels
    shift = middle - (phase + slices // 2 - (slices - 1) / 2) * spacing_px
    grid = make_grid(slices, spacing_px, 1.0, profile.half_support_mm, keep_extent=False, shift_mm=shift)
    operator = ThroughPlaneOperator(profile, grid, ends="edge")
    window = slice(first, first + pixels)
    # beyond the patch its end pixels continue
    matrix = operator.matrix[:, window].clone()
    matrix[:, 0] += operator.matrix[:, :first].sum(1)
    matrix[:, -1] += operator.matrix[:, first + pixels :].sum(1)
    return Degradation(matrix, interpolation_matrix(operator)[window], profile.fwhm_mm, float(spacing_px))


def random_degradation(pixels: int, rng: np.random.Generator) -> Degradation:
    """An acquisition as clinics make them: 2-10 pixels apart, touching, gapped or slightly overlapping."""
    spacing = float(rng.uniform(np.sqrt(1.8), np.sqrt(10.0))) ** 2
    kind = rng.random()
    ratio = 1.0 if kind < 0.5 else rng.uniform(0.6, 1.0) if kind < 0.85 else rng.uniform(1.0, 1.3)
    make = (gaussian_profile, gaussian_profile, gaussian_profile, rect_profile, slr_profile)[rng.integers(5)]
    return make_degradation(make(spacing * ratio), spacing, pixels, float(rng.random()))
