"""Scans and textures that tests write."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices


def write_scan(path: Path, data: np.ndarray, affine: np.ndarray, qcode: int = 1, scode: int = 1) -> Path:
    """Write a NIfTI with given form codes, units mm."""
    image = nib.Nifti1Image(data, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, qcode)
    image.set_sform(affine, scode)
    nib.save(image, path)
    return path


def write_thick_scan(path: Path, head: np.ndarray) -> Path:
    """An axial scan of a phantom of 1.2 mm voxels: 12 slices of 5 mm every 6 mm."""
    slices = simulate_slices(1000 * head, 1.2, gaussian_profile(5.0), 6.0)
    affine = np.diag([-1.2, 1.2, 6.0, 1.0])
    affine[:3, 3] = (30.0, -40.0, -33.0)
    return write_scan(path, slices, affine)


def isotropic_field(shape: tuple[int, int, int] = (112, 120, 128), seed: int = 0) -> np.ndarray:
    """A Gaussian random field of 1 mm voxels whose power falls as the third power of frequency: no axis is special."""
    frequency = np.meshgrid(*[np.fft.fftfreq(n) for n in shape], indexing="ij")
    radius = np.sqrt(sum(f**2 for f in frequency))
    white = np.random.default_rng(seed).standard_normal(shape)
    field = np.fft.ifftn(np.fft.fftn(white) / (0.02 + radius) ** 1.5).real
    return (field / field.std()).astype(np.float32)
