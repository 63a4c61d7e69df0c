"""DICOM series of a tilted gantry, which dcm2niix writes as if the stack were straight."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import nibabel as nib
import numpy as np

from focvs.files import write_atomically
from focvs.scan.dicom_series import Plane
from focvs.scan.shear import MOST_LEAN_DEG, lean_deg

TO_RAS = np.array([-1.0, -1.0, 1.0])  # from the axes of DICOM


def true_affine(affine: np.ndarray, rows: int, planes: Sequence[Plane]) -> np.ndarray:
    """Voxel-to-world of a converted stack with the step from slice to slice that its DICOM headers have.

    Args:
        affine: ``(4, 4)`` of the converted file, its slice axis last, mm.
        rows: voxels along its second axis, which dcm2niix turns around.
        planes: of the series.
    """
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    places = sorted((plane.position * TO_RAS for plane in planes), key=lambda place: float(place @ normal))
    if affine[:3, 2] @ normal < 0:
        places.reverse()
    turned = affine[:3, 1] * (rows - 1)  # from the first voxel to the first pixel
    origins = [places[0] - turned, places[0]]
    true = affine.astype(float)
    true[:3, 2] = (places[-1] - places[0]) / (len(places) - 1)
    true[:3, 3] = min(origins, key=lambda origin: float(np.abs(origin - affine[:3, 3]).max()))
    return true


def place_tilted(path: Path, planes: Sequence[Plane]) -> None:
    """Write the sform of a converted stack again where the stack leans by more than a degree; its qform cannot lean."""
    image = nib.Nifti1Image.from_filename(path)
    if len(planes) < 2 or len(image.shape) != 3 or image.shape[2] != len(planes):
        return
    true = true_affine(np.asarray(image.affine), image.shape[1], planes)
    if lean_deg(true) <= MOST_LEAN_DEG:
        return
    image.set_sform(true, 1)
    image.set_qform(None, 0)
    content = nib.Nifti1Image(np.asanyarray(image.dataobj), None, image.header)
    write_atomically(path, ".nii.gz", lambda temporary: nib.save(content, temporary))
