"""Files of images, whatever their format, as NIfTI images in memory; and what to do about those that cannot be read."""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
from isal import igzip

from focvs.errors import InputError, first_line
from focvs.files import require_there

nib.imageglobals.logger.setLevel("CRITICAL")  # what it mends in headers is said here, in words of ours
GZIP_MAGIC = b"\x1f\x8b"
DICOM_MAGIC, DICOM_PREAMBLE = b"DICM", 128
NIFTI1_HEADER, NIFTI2_HEADER = 348, 540  # bytes, which are the first number of such a file
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
MGH_SUFFIXES = (".mgz", ".mgh")
SUFFIXES = (".nii.gz", ".nii", ".img.gz", ".hdr.gz", ".img", ".hdr", *MGH_SUFFIXES, *ITK_SUFFIXES)
# formats that are named with the command that converts them
FOREIGN = {
    ".mnc": ("MINC", "mnc2nii {0} scan.nii"),
    ".par": ("Philips PAR/REC", "dcm2niix {0}"),
    ".rec": ("Philips PAR/REC", "dcm2niix {0}"),
    ".head": ("AFNI", "3dAFNItoNIFTI {0}"),
    ".brik": ("AFNI", "3dAFNItoNIFTI {0}"),
    ".mif": ("MRtrix", "mrconvert {0} scan.nii.gz"),
    ".png": ("a picture", "dcm2niix on the folder of the DICOM files it was made from"),
    ".jpg": ("a picture", "dcm2niix on the folder of the DICOM files it was made from"),
    ".npy": ("a NumPy array without a place in space", "nibabel.save(nibabel.Nifti1Image(array, affine), ...)"),
    ".zip": ("an archive", "unzip {0}"),
}


def image_stem(path: Path) -> str:
    """File name without the suffix of its format, upper or lower case."""
    suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), "")
    return path.name[: len(path.name) - len(suffix)]


def load_image(path: Path) -> nib.Nifti1Pair:
    """An image file as NIfTI, its voxels still as they are stored.

    NIfTI-1 and NIfTI-2, single files and pairs, compressed or not whatever their suffix says, the gzip stream checked
    to its checksum; MGH and MGZ; NRRD and MetaImage with SimpleITK (``pip install focvs[formats]``).

    Raises:
        InputError: naming what the file is and how to convert it.
    """
    require_there(path)
    if not path.is_file():
        raise InputError(f"{path} is a folder; give a .nii or .nii.gz file.")
    name = path.name.lower()
    if name.endswith(ITK_SUFFIXES):
        return _with_simpleitk(path)
    if name.endswith(MGH_SUFFIXES):
        return _with_nibabel(path, nib.MGHImage)
    if name.endswith((".img", ".hdr", ".img.gz", ".hdr.gz")):
        return _pair(path)
    return _single(path)


def is_dicom(content: bytes) -> bool:
    """Whether the first bytes of a file are those of DICOM."""
    return content[DICOM_PREAMBLE : DICOM_PREAMBLE + len(DICOM_MAGIC)] == DICOM_MAGIC


def _single(path: Path) -> nib.Nifti1Image:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} could not be read ({error.strerror}); check its permissions.") from error
    if is_dicom(content):
        raise InputError(
            f"{path} is a DICOM file; give its folder instead, with the files of one series: focvs {path.parent} out/"
        )
    kind, command = FOREIGN.get(path.suffix.lower(), ("", ""))
    if kind:
        raise InputError(f"{path} is {kind}, not NIfTI; convert it first: {command.format(path.name)}.")
    if not content:
        raise InputError(f"{path} is empty; copy it again.")
    if content.startswith(GZIP_MAGIC):
        content = _unpacked(path)
    sizes = {int.from_bytes(content[:4], order) for order in ("little", "big")}  # type: ignore[arg-type]
    if not sizes & {NIFTI1_HEADER, NIFTI2_HEADER}:
        raise InputError(f"{path} could not be read as NIfTI: it does not begin as one; convert it to .nii or .nii.gz.")
    form = nib.Nifti2Image if NIFTI2_HEADER in sizes else nib.Nifti1Image
    if content[344:348] == b"ni1\0" or (NIFTI2_HEADER in sizes and content[4:8] == b"ni2\0"):
        raise InputError(f"{path} is the header of a NIfTI pair; give its .img file under the name of both.")
    if NIFTI1_HEADER in sizes and content[344:347] != b"n+1":
        raise InputError(f"{path} is Analyze, which does not say which side is left; convert it to NIfTI first.")
    try:
        image = form.from_bytes(content)
        needed = math.prod(image.shape) * image.get_data_dtype().itemsize + int(image.header["vox_offset"])
    except Exception as error:  # nibabel raises a dozen kinds for a header that is broken
        raise InputError(f"{path} could not be read as NIfTI, its header is broken ({first_line(error)}).") from error
    if needed > len(content):  # asked before so much memory is
        raise InputError(
            f"{path} is truncated, or its header is broken: {'x'.join(map(str, image.shape))} voxels need {needed} "
            f"bytes, and it holds {len(content)}; copy it again."
        )
    return image


def _unpacked(path: Path) -> bytes:
    """What a gzip stream holds, read to its end, where the checksum is."""
    try:
        with igzip.open(path) as stream:
            return bytes(stream.read())
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(
            f"{path} is damaged or truncated: its gzip stream fails ({first_line(error)}); copy it again, "
            "gzip -t says whether a copy is whole."
        ) from error


def _pair(path: Path) -> nib.Nifti1Pair:
    if path.name.lower().endswith(".gz"):
        _unpacked(path)
    try:
        image = nib.load(path)
    except Exception as error:
        raise InputError(
            f"{path} could not be read as a NIfTI pair ({first_line(error)}); .hdr and .img must lie side by side."
        ) from error
    if not isinstance(image, nib.Nifti1Pair | nib.Nifti2Pair):
        raise InputError(f"{path} is Analyze, which does not say which side is left; convert it to NIfTI first.")
    return image


def _with_nibabel(path: Path, kind: type) -> nib.Nifti1Image:
    """An image of another format that nibabel reads."""
    if path.read_bytes().startswith(GZIP_MAGIC):
        _unpacked(path)
    try:
        image = kind.from_filename(path)  # type: ignore[attr-defined]
        return _as_nifti(np.asanyarray(image.dataobj), image.affine)
    except Exception as error:
        raise InputError(f"{path} could not be read, it may be truncated ({first_line(error)}).") from error


def _with_simpleitk(path: Path) -> nib.Nifti1Image:
    try:
        import SimpleITK as sitk  # noqa: N813
    except ImportError as error:
        raise InputError(
            f"{path} is NRRD or MetaImage: install SimpleITK to read it (pip install 'focvs[formats]'), or save it as "
            "NIfTI in the program it is from (3D Slicer: Save, NIfTI)."
        ) from error
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(f"{path} could not be read, it may be truncated ({reason}).") from error
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise InputError(f"{path} has several values per voxel or is not 3-D; give one 3-D volume of one value.")
    steps = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = steps, image.GetOrigin()
    affine[:2] *= -1  # ITK's axes point left and back, NIfTI's right and front
    return _as_nifti(sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine)


def _as_nifti(data: np.ndarray, affine: np.ndarray) -> nib.Nifti1Image:
    """Scanner coordinates in mm."""
    image = nib.Nifti1Image(data.astype(np.float32) if data.dtype.itemsize > 4 else data, affine)
    image.header.set_xyzt_units("mm")
    image.set_qform(affine, 1)
    image.set_sform(affine, 1)
    return image
