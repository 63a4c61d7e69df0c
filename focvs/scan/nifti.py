"""NIfTI files in and out. Affines map voxel centres to mm."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from isal import igzip

from focvs import __version__
from focvs.errors import InputError, NoScanError, first_line
from focvs.files import write_atomically
from focvs.scan.formats import load_image
from focvs.scan.placement import UNIT_MM, place_voxels

INT16_MOST, SLOPE_AT = 32767, 112  # largest value, and where a NIfTI-1 header has slope and intercept
GZIP_LEVEL = 1  # of 0 to 3: noise hardly gets smaller by more
log = logging.getLogger(__name__)
DIRECTIONS = {"left-right": "RL", "posterior-anterior": "AP", "inferior-superior": "SI"}
SAME_MM = 1e-3  # affines that differ by less are one grid


def axis_directions(affine: np.ndarray) -> tuple[str, str, str]:
    """Anatomical name, one of :data:`DIRECTIONS`, of the nearest direction to each axis of an image."""
    names = {code: name for name, codes in DIRECTIONS.items() for code in codes}
    first, second, third = (names[code] for code in nib.aff2axcodes(affine))
    return first, second, third


def on_same_voxels(data: np.ndarray, affine: np.ndarray, reference: nib.Nifti1Image) -> bool:
    """Whether an image has shape and affine of another."""
    return data.shape == reference.shape and bool(np.allclose(affine, reference.affine, atol=SAME_MM))


def axis_last(data: np.ndarray, affine: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """A volume and its affine with array axis ``axis`` last, the others in their order."""
    order = [*(i for i in range(3) if i != axis), axis]
    return np.moveaxis(data, axis, -1), affine[:, [*order, 3]]


def axis_back(data: np.ndarray, affine: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Inverse of :func:`axis_last`."""
    order = [0, 1]
    order.insert(axis, 2)
    return np.moveaxis(data, -1, axis), affine[:, [*order, 3]]


def require_direction(name: str) -> None:
    """Refuse what is none of :data:`DIRECTIONS`.

    Raises:
        InputError: for an unknown name.
    """
    if name not in DIRECTIONS:
        raise InputError(f"axis={name} is not known; choose one of {', '.join(DIRECTIONS)}.")


def axis_along(affine: np.ndarray, direction: str) -> int:
    """The array axis nearest to an anatomical direction, one of :data:`DIRECTIONS`.

    Raises:
        InputError: for an unknown name.
    """
    require_direction(direction)
    return next(i for i, code in enumerate(nib.aff2axcodes(affine)) if code in DIRECTIONS[direction])


def read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray, nib.Nifti1Header, list[str]]:
    """An image file as float32 ``(i, j, k)``, its affine in mm, a NIfTI header, and warnings.

    scl_slope and scl_inter are applied; NaN and infinities become 0, or the lowest value if that is lower. Formats are
    those of :func:`focvs.scan.formats.load_image`, and odd headers are understood as
    :func:`focvs.scan.placement.place_voxels` says.

    Raises:
        InputError: if the file is missing, unreadable, truncated, has several frames, is not real-valued, or does not
            say where it lies.
    """
    image = load_image(path)
    try:
        dtype = image.get_data_dtype()
        if dtype.kind not in "iuf":
            kind = "complex" if dtype.kind == "c" else "RGB or otherwise structured"
            raise NoScanError(f"{path} is {kind}, and a scan has one real value per voxel; convert it first.")
        shape = image.shape
        frames = int(np.prod(shape[3:])) if len(shape) > 3 else 1
        if len(shape) < 3 or frames != 1 or 0 in shape:
            raise NoScanError(
                f"{path} has shape {'x'.join(map(str, shape))}; give one 3-D volume (extract a single frame first)."
            )
        with np.errstate(all="ignore"):
            data = np.asarray(image.dataobj, dtype=np.float32).reshape(shape[:3])
    except (InputError, MemoryError):
        raise
    except Exception as error:  # nibabel and numpy raise a dozen kinds for a file that is broken or cut short
        raise InputError(f"{path} could not be read as NIfTI, it may be truncated ({first_line(error)}).") from error
    affine, warnings = place_voxels(image.header, data.shape, str(path))
    bad = ~np.isfinite(data)
    if bad.any():
        lowest = min(0.0, float(data[~bad].min())) if not bad.all() else 0.0
        data = np.where(bad, np.float32(lowest), data)
        warnings.append(f"{int(bad.sum())} voxels were NaN or infinite and were set to {lowest:g}.")
    return data, affine, image.header, warnings


def read_volume(path: Path) -> tuple[np.ndarray, np.ndarray, nib.Nifti1Header]:
    """:func:`read_nifti`, its warnings in the log."""
    data, affine, header, warnings = read_nifti(path)
    for warning in warnings:
        log.warning("%s: %s", path, warning)
    return data, affine, header


def write_nifti(
    path: Path,
    data: np.ndarray,
    affine_mm: np.ndarray,
    like: nib.Nifti1Header,
    dtype: str = "float32",
    window: tuple[float, float] | None = None,
) -> str:
    """Write NIfTI with both forms set to ``affine_mm``, form codes and units as in ``like``.

    Written under a temporary name in the same folder and renamed, so a killed run leaves no half file under
    ``path``.

    Args:
        path: ends in .nii or .nii.gz.
        data: ``(i, j, k)``.
        affine_mm: ``(4, 4)`` voxel-to-world.
        like: a header.
        dtype: ``float32``, or ``int16`` with a slope; zero stays zero.
        window: intensities that viewers show as black and white (cal_min, cal_max).

    Returns:
        :func:`voxels_sha256` of the file.

    Raises:
        InputError: if the file cannot be written.
    """
    units = like.get_xyzt_units()
    affine = np.array(affine_mm, dtype=float)
    affine[:3] /= UNIT_MM[units[0]]
    header = nib.Nifti1Header()
    header.set_data_dtype(np.dtype(dtype))
    header["descrip"] = f"focvs {__version__}"
    header.set_data_shape(data.shape)
    header.set_qform(affine, int(like["qform_code"]))
    header.set_sform(affine, int(like["sform_code"]))
    header.set_xyzt_units(units[0] if units[0] != "unknown" else None)
    if window is not None:
        header["cal_min"], header["cal_max"] = window
    slope = float(np.abs(data).max()) / INT16_MOST or 1.0 if dtype == "int16" else 1.0
    stored = np.rint(data / slope).astype(np.int16) if dtype == "int16" else np.asarray(data, dtype=np.float32)
    # without an affine of its own, the image keeps the header's form codes when saved
    image = nib.Nifti1Image(stored, None, header)
    suffix = ".nii.gz" if path.name.endswith(".gz") else ".nii"
    write_atomically(path, suffix, lambda temporary: temporary.write_bytes(_packed(image, suffix, slope)))
    return hashlib.sha256(stored.tobytes(order="F")).hexdigest()


def voxels_sha256(path: Path) -> str:
    """Hash of the voxels of a NIfTI file as they are stored, before slope and intercept; of no header or date.

    Raises:
        InputError: if it cannot be read.
    """
    image: Any = load_image(path)
    try:
        stored = np.asarray(image.dataobj.get_unscaled())
    except Exception as error:  # as in read_nifti
        raise InputError(f"{path} could not be read, it may be truncated ({first_line(error)}).") from error
    return hashlib.sha256(stored.astype(stored.dtype.newbyteorder("<")).tobytes(order="F")).hexdigest()


def _packed(image: nib.Nifti1Image, suffix: str, slope: float) -> bytes:
    """The bytes of a file; gzip by ISA-L, which is several times as fast as zlib, without a date."""
    content = bytearray(image.to_bytes())
    if slope != 1:  # which nibabel leaves out of a header whose voxels it did not scale itself
        content[SLOPE_AT : SLOPE_AT + 8] = np.array([slope, 0], dtype="<f4").tobytes()
    return igzip.compress(content, GZIP_LEVEL, mtime=0) if suffix.endswith(".gz") else bytes(content)
