"""A multi-slice scan as the program holds it: slice axis last, array and affine alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from focvs.errors import InputError
from focvs.scan.nifti import axis_directions, nifti_stem, read_nifti

MINIMUM_SLICES = 5
LEAST_ANISOTROPY = 1.25  # slices thinner than this times the in-plane voxel are not worth super-resolving


@dataclass(frozen=True, eq=False)
class Scan:
    """A multi-slice scan with its slice axis last.

    Attributes:
        path: the file.
        data: ``(p, q, slices)`` float32 in the file's intensity units, finite.
        axis: array axis of the file that is the slice axis.
        affine: ``(4, 4)`` of the file's array order, mm.
        spacing_mm: distance of slice centres.
        in_plane_mm: voxel sizes of p and q.
        header: the file's header, for form codes and units.
        warnings: what was odd about the file, a sentence each.
        gains: ``(slices,)`` factors the slices carried and ``data`` no longer does, or None.
    """

    path: Path
    data: np.ndarray
    axis: int
    affine: np.ndarray
    spacing_mm: float
    in_plane_mm: tuple[float, float]
    header: nib.Nifti1Header
    warnings: tuple[str, ...]
    gains: np.ndarray | None = None

    @property
    def stem(self) -> str:
        """File name without .nii or .nii.gz."""
        return nifti_stem(self.path)

    def orientation(self) -> str:
        """Where the axes of ``data`` point, such as ``RAS``."""
        codes = list(nib.aff2axcodes(self.affine))
        codes.append(codes.pop(self.axis))
        return "".join(codes)

    def plane_names(self) -> tuple[str, str]:
        """Anatomical plane of the slices counted along p, and along q: what a fixed p (or q) shows."""
        codes = nib.aff2axcodes(self.affine)
        in_plane = [c for i, c in enumerate(codes) if i != self.axis]
        names = {"R": "sagittal", "L": "sagittal", "A": "coronal", "P": "coronal", "S": "axial", "I": "axial"}
        return names[in_plane[0]], names[in_plane[1]]

    def slice_direction(self) -> str:
        """Anatomical name of the slice axis."""
        return axis_directions(self.affine)[self.axis]


def read_scan(path: Path) -> Scan:
    """Read a multi-slice scan and find its slice axis.

    Raises:
        InputError: as :func:`read_nifti`, and for an isotropic scan, two equally thick axes, fewer than
            5 slices, or an empty or constant volume.
    """
    data, affine, header, warnings = read_nifti(path)
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    axis = int(np.argmax(voxel_mm))
    low, middle, high = np.sort(voxel_mm)
    sizes = " x ".join(f"{v:.3g}" for v in voxel_mm)
    if high / low < LEAST_ANISOTROPY:
        raise InputError(f"{path} has voxels of {sizes} mm: it is isotropic already, there is nothing to restore.")
    if high / middle < LEAST_ANISOTROPY:
        raise InputError(f"{path} has voxels of {sizes} mm, two thick axes; a scan with one slice axis is needed.")
    if data.shape[axis] < MINIMUM_SLICES:
        raise InputError(f"{path} has {data.shape[axis]} slices; at least {MINIMUM_SLICES} are needed.")
    if np.ptp(data) == 0:
        raise InputError(f"{path} is constant ({data.flat[0]:g} everywhere): there is no head in it.")
    in_plane = np.delete(voxel_mm, axis)
    return Scan(
        path,
        np.moveaxis(data, axis, -1),
        axis,
        affine,
        float(voxel_mm[axis]),
        (float(in_plane[0]), float(in_plane[1])),
        header,
        tuple(warnings),
    )
