"""A multi-slice scan as the program holds it: slice axis last, array and affine alike."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import nibabel as nib
import numpy as np

from focvs.acquisition.grid import plane_distance_mm
from focvs.errors import NoScanError
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.nifti import axis_directions, axis_last, read_nifti
from focvs.scan.shear import MOST_SKEW_DEG, skew_deg, straighten
from focvs.scan.units import IntensityUnits, white_level

MINIMUM_SLICES = 5
LEAST_ANISOTROPY = 1.25  # slices thinner than this times the in-plane voxel are not worth super-resolving


@dataclass(frozen=True, eq=False)
class Scan:
    """A multi-slice scan with its slice axis last.

    The order of the file is undone once, at reading, and restored once, at writing (:func:`write_like`).

    Attributes:
        path: the file.
        data: ``(p, q, slices)`` float32 in the file's intensity units, finite.
        affine: ``(4, 4)`` voxel-to-world of ``data``, mm.
        header: the file's header, for form codes and units.
        file_axis: array axis of the file that is the slice axis.
        warnings: what was odd about the file, a sentence each.
        gains: ``(slices,)`` factors of brightness the slices carried and ``data`` no longer does, or None.
        background: level that was taken off all of ``data`` and is put back where a result is written.
        missing: slices that were not measured; ``data`` there is that of their neighbours.
        pass_field: coefficients of the logarithm of odd over even slices that was divided out, as
            :class:`focvs.scan.pass_field.PassField` has them, or None.
        converted: files that were left in the output folder when a DICOM series was converted.
        sha256: of the intensities and the place as they were read, whatever the file is called.
    """

    path: Path
    data: np.ndarray
    affine: np.ndarray
    header: nib.Nifti1Header
    file_axis: int = 2
    warnings: tuple[str, ...] = ()
    gains: np.ndarray | None = None
    background: float = 0.0
    missing: tuple[int, ...] = ()
    pass_field: np.ndarray | None = None
    converted: tuple[Path, ...] = ()
    sha256: str = ""

    @property
    def stem(self) -> str:
        """File name without the suffix of its format."""
        return image_stem(self.path)

    def result(self, method: str) -> str:
        """What the names of all results of a method begin with."""
        return f"{self.stem}_{method}"

    @property
    def spacing_mm(self) -> float:
        """Distance of the planes of neighbouring slices, along their normal."""
        return plane_distance_mm(self.affine)

    @property
    def in_plane_mm(self) -> tuple[float, float]:
        """Voxel sizes along p and q."""
        p, q = np.linalg.norm(self.affine[:3, :2], axis=0)
        return float(p), float(q)

    @property
    def orientation(self) -> str:
        """Where the axes of ``data`` point, such as ``RAS``."""
        return "".join(nib.aff2axcodes(self.affine))

    @property
    def plane_names(self) -> tuple[str, str]:
        """Anatomical plane that a fixed p shows, and a fixed q."""
        names = {"R": "sagittal", "L": "sagittal", "A": "coronal", "P": "coronal", "S": "axial", "I": "axial"}
        return names[self.orientation[0]], names[self.orientation[1]]

    @property
    def slice_direction(self) -> str:
        """Anatomical name of the slice axis."""
        return axis_directions(self.affine)[2]

    @cached_property
    def units(self) -> IntensityUnits:
        """Between the file's intensities and prior units.

        Raises:
            InputError: if no voxel is above zero.
        """
        return IntensityUnits(white_level(self.data))

    @cached_property
    def head(self) -> np.ndarray:
        """``(p, q, slices)`` boolean, where the head is."""
        return head_mask(self.data, self.units.white)


def read_scan(path: Path) -> Scan:
    """Read a multi-slice scan, find its slice axis, and straighten a stack that leans.

    Raises:
        InputError: as :func:`read_nifti` and :func:`focvs.scan.shear.straighten`.
        NoScanError: for an isotropic scan, two equally thick axes, fewer than 5 slices, or an empty or constant volume.
    """
    data, affine, header, warnings = read_nifti(path)
    voxel_mm = np.linalg.norm(affine[:3, :3], axis=0)
    axis = int(np.argmax(voxel_mm))
    low, middle, high = sorted(map(float, voxel_mm))
    sizes = " x ".join(f"{v:.3g}" for v in voxel_mm)
    if high / low < LEAST_ANISOTROPY:
        raise NoScanError(f"{path} has voxels of {sizes} mm: it is isotropic already, there is nothing to restore.")
    if high / middle < LEAST_ANISOTROPY:
        raise NoScanError(f"{path} has voxels of {sizes} mm, two thick axes; a scan with one slice axis is needed.")
    if data.shape[axis] < MINIMUM_SLICES:
        raise NoScanError(f"{path} has {data.shape[axis]} slices; at least {MINIMUM_SLICES} are needed.")
    if np.ptp(data) == 0:
        raise NoScanError(f"{path} is constant ({data.flat[0]:g} everywhere): there is no head in it.")
    data, affine = axis_last(data, affine, axis)
    data, affine, straightened = straighten(data, affine, str(path))
    warnings += straightened
    if (skew := skew_deg(affine)) > MOST_SKEW_DEG:
        warnings.append(
            f"its rows and columns stand {90 - skew:.1f} degrees apart (shear within slices): pixels are worked on as "
            "they are, and viewers that go by the qform, which knows right angles only, show them elsewhere."
        )
    digest = hashlib.sha256(np.round(affine, 4).tobytes())
    digest.update(np.ascontiguousarray(data).data)
    return Scan(path, data, affine, header, axis, tuple(warnings), sha256=digest.hexdigest())
