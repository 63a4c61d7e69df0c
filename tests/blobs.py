"""A smooth head as a function of millimetres, for tests of where voxels lie."""

import nibabel as nib
import numpy as np


def blob(points):
    """A smooth head of ``(..., 3)`` mm, the same in any coordinates; below 1 % outside of 60 mm."""
    centre, width = np.array([4.0, -6.0, 3.0]), np.array([13.0, 16.0, 14.0])
    return 800 * np.exp(-(((points - centre) / width) ** 2).sum(-1) / 2)


def places(shape, affine):
    return nib.affines.apply_affine(affine, np.stack(np.indices(shape), -1))


def worst_within(data, affine, shape, seen):
    """Largest error of the blob where slices of another grid of the same planes saw it."""
    points = places(data.shape, affine)
    index = nib.affines.apply_affine(np.linalg.inv(seen), points)
    inside = ((index > 1) & (index < np.array(shape) - 2))[..., :2].all(-1)
    assert inside.mean() > 0.3
    return np.abs(data - blob(points))[inside].max()
