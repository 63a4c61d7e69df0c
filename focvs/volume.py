"""Scans in and volumes out: NIfTI, orientation, intensity units. Affines map voxel centres to mm."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from scipy import ndimage

from focvs.errors import InputError

log = logging.getLogger(__name__)

MINIMUM_SLICES = 5
SAME_MM = 1e-3  # affines that differ by less are one grid
LEAST_ANISOTROPY = 1.25  # slices thinner than this times the in-plane voxel are not worth super-resolving
_UNIT_MM = {"mm": 1.0, "unknown": 1.0, "meter": 1000.0, "micron": 0.001}


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


def axis_directions(affine: np.ndarray) -> tuple[str, str, str]:
    """Anatomical name of the nearest direction to each axis of an image."""
    names = {"R": "left-right", "L": "left-right", "A": "posterior-anterior", "P": "posterior-anterior"}
    first, second, third = (names.get(code, "inferior-superior") for code in nib.aff2axcodes(affine))
    return first, second, third


def on_same_voxels(data: np.ndarray, affine: np.ndarray, reference: nib.Nifti1Image) -> bool:
    """Whether an image has shape and affine of another."""
    return data.shape == reference.shape and bool(np.allclose(affine, reference.affine, atol=SAME_MM))


def nifti_stem(path: Path) -> str:
    """File name without .nii or .nii.gz."""
    return path.name.removesuffix(".gz").removesuffix(".nii")


def read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray, nib.Nifti1Header, list[str]]:
    """A NIfTI file as float32 ``(i, j, k)``, its affine in mm, its header, and warnings.

    scl_slope and scl_inter are applied; NaN and infinities become 0; sform is preferred to qform.

    Raises:
        InputError: if the file is missing, unreadable, truncated, has several frames or is not real-valued.
    """
    if not path.is_file():
        there = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {there}; give a .nii or .nii.gz file.")
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Image | nib.Nifti2Image):
            raise InputError(f"{path} is {type(image).__name__}, not NIfTI; convert it to .nii or .nii.gz.")
        dtype = image.get_data_dtype()
        if dtype.kind not in "iuf":
            kind = "complex" if dtype.kind == "c" else "RGB or otherwise structured"
            raise InputError(f"{path} is {kind}, and a scan has one real value per voxel; convert it first.")
        shape = image.shape
        frames = int(np.prod(shape[3:])) if len(shape) > 3 else 1
        if len(shape) < 3 or frames != 1:
            raise InputError(
                f"{path} has shape {'x'.join(map(str, shape))}; give one 3-D volume (extract a single frame first)."
            )
        data = np.asarray(image.dataobj, dtype=np.float32).reshape(shape[:3])
        header = image.header
        sform, sform_code = header.get_sform(coded=True)
        qform = header.get_qform() if header["qform_code"] and sform_code else None
        unit_mm = _UNIT_MM[header.get_xyzt_units()[0]]
    except InputError:
        raise
    except Exception as error:  # nibabel, gzip and zlib raise a dozen kinds for a file that is broken or cut short
        raise InputError(f"{path} could not be read as NIfTI, it may be truncated ({_one_line(error)}).") from error
    warnings = []
    bad = ~np.isfinite(data)
    if bad.any():
        data = np.where(bad, np.float32(0), data)
        warnings.append(f"{int(bad.sum())} voxels were NaN or infinite and were set to 0.")
    if qform is not None and not np.allclose(qform, sform, atol=1e-2):
        warnings.append(f"qform and sform disagree by up to {np.abs(qform - sform).max():.3g}; sform was used.")
    affine = np.array(image.affine, dtype=float)
    affine[:3] *= unit_mm
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(f"{path} has an affine without volume; repair its header first.")
    return data, affine, header, warnings


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


def intensity_scale(volume: np.ndarray) -> float:
    """The intensity that becomes +1 in prior units: the 99.5th percentile of voxels above a tenth of it.

    Raises:
        InputError: if no voxel is above zero.
    """
    rough = float(np.percentile(volume, 99.5))
    inside = volume[volume > 0.1 * rough]
    if rough <= 0 or inside.size == 0:
        raise InputError("the volume has no positive intensities; give a magnitude image.")
    return float(np.percentile(inside, 99.5))


def read_volume(path: Path) -> tuple[np.ndarray, np.ndarray, nib.Nifti1Header]:
    """:func:`read_nifti`, its warnings in the log."""
    data, affine, header, warnings = read_nifti(path)
    for warning in warnings:
        log.warning("%s: %s", path, warning)
    return data, affine, header


def head_mask(volume: np.ndarray, scale: float) -> np.ndarray:
    """Largest connected region above a tenth of ``scale``, closed and filled in every slice of the last axis."""
    smooth = ndimage.gaussian_filter(volume, (1, 1, 0))
    labels, count = ndimage.label(smooth > 0.1 * scale)
    if count == 0:
        return np.ones(volume.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    mask = labels == sizes.argmax()
    disc = ndimage.generate_binary_structure(2, 1)[:, :, None]
    mask = ndimage.binary_dilation(mask, disc, iterations=2)
    for k in range(mask.shape[-1]):
        mask[..., k] = ndimage.binary_fill_holes(mask[..., k])
    return ndimage.binary_erosion(mask, disc, iterations=2, border_value=1)


def bounding_box(mask: np.ndarray, margin: int | Sequence[int]) -> tuple[slice, ...]:
    """The smallest box around what is true, ``margin`` voxels wider on every side (or each axis its own), cut to fit.

    Raises:
        IndexError: if nothing is.
    """
    margins = [margin] * mask.ndim if isinstance(margin, int) else margin
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    sides = zip(box, margins, mask.shape, strict=True)
    return tuple(slice(max(side.start - m, 0), min(side.stop + m, n)) for side, m, n in sides)


def write_nifti(path: Path, data: np.ndarray, affine_mm: np.ndarray, like: nib.Nifti1Header) -> None:
    """Write float32 NIfTI with both forms set to ``affine_mm``, form codes and units as in ``like``.

    Written under a temporary name in the same folder and renamed, so a killed run leaves no half file under
    ``path``.

    Raises:
        InputError: if the file cannot be written.
    """
    units = like.get_xyzt_units()
    affine = np.array(affine_mm, dtype=float)
    affine[:3] /= _UNIT_MM[units[0]]
    header = nib.Nifti1Header()
    header.set_data_dtype(np.float32)
    header.set_data_shape(data.shape)
    header.set_qform(affine, int(like["qform_code"]))
    header.set_sform(affine, int(like["sform_code"]))
    header.set_xyzt_units(units[0] if units[0] != "unknown" else None)
    # without an affine of its own, the image keeps the header's form codes when saved
    image = nib.Nifti1Image(np.asarray(data, dtype=np.float32), None, header)
    suffix = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    write_atomically(path, suffix, lambda temporary: nib.save(image, temporary))


def write_json(path: Path, content: dict) -> None:
    """Write JSON under a temporary name and rename."""
    write_atomically(path, ".json", lambda temporary: temporary.write_text(json.dumps(content, indent=2) + "\n"))


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write the ``columns`` of rows as CSV, what is missing empty, under a temporary name and rename."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", extrasaction="ignore", restval="")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, ".csv", lambda temporary: temporary.write_text(text.getvalue()))


def write_atomically(path: Path, suffix: str, write) -> None:  # type: ignore[no-untyped-def]
    """Call ``write(temporary)`` in the folder of ``path``, then rename to ``path``.

    Raises:
        InputError: if the operating system refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}); choose another folder.") from error
    finally:
        if temporary.is_file():
            temporary.unlink()


def _one_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
