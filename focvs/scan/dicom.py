"""DICOM series in: dcm2niix (an extra, ``pip install focvs[dicom]``) writes the NIfTI and its JSON."""

from __future__ import annotations

import logging
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from focvs.errors import InputError
from focvs.files import require_writable
from focvs.scan.nifti import read_nifti
from focvs.scan.scan import Scan, read_scan

log = logging.getLogger(__name__)


def open_scan(path: Path, output: Path | None) -> Scan:
    """The scan in a NIfTI file, or in a folder of DICOM files, which is converted into ``output`` first.

    Raises:
        InputError: as :func:`focvs.scan.scan.read_scan` and :func:`convert_series`; for DICOM without an output folder.
    """
    if not path.is_dir():
        return read_scan(path)
    if output is None:
        raise InputError(f"{path} is a folder of DICOM files: give an output folder as well, its NIfTI is left there.")
    return read_scan(convert_series(path, output))


def convert_series(folder: Path, output: Path) -> Path:
    """Convert the one DICOM series in ``folder``.

    Args:
        folder: DICOM files of one series.
        output: gets ``<name of the folder>.nii.gz`` and its ``.json``, unless the same scan is there already.

    Returns:
        The NIfTI file.

    Raises:
        InputError: if dcm2niix is not installed, finds no series or more than one, another scan has that name, or
            the output folder cannot be written.
    """
    try:
        import dcm2niix
    except ImportError as error:
        raise InputError(
            f"{folder} is a folder: to read DICOM, install dcm2niix (pip install 'focvs[dicom]'), or give a NIfTI file."
        ) from error
    stem = folder.resolve().name
    with tempfile.TemporaryDirectory() as name:
        command = [dcm2niix.bin, "-b", "y", "-z", "y", "-f", "%s_%d", "-o", name, str(folder)]
        done = subprocess.run(command, capture_output=True, text=True)
        found = sorted(Path(name).glob("*.nii.gz"))
        if not found:
            said = (done.stderr or done.stdout).strip().splitlines()
            raise InputError(f"dcm2niix found no series in {folder} ({said[-1] if said else 'it said nothing'}).")
        if len(found) > 1:
            names = ", ".join(path.name.removesuffix(".nii.gz") for path in found)
            raise InputError(f"{folder} holds {len(found)} series ({names}); give a folder with one of them.")
        said = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(("Warning", "Error"))]
        if done.returncode:
            said.append(f"dcm2niix ended with {done.returncode}; is the series complete?")
        for line in said:
            log.warning("%s: %s", folder, line.strip())
        scan = output / f"{stem}.nii.gz"
        if scan.exists():
            require_same(found[0], scan)
            return scan
        require_writable(output)
        sidecar = found[0].with_name(found[0].name.removesuffix(".nii.gz") + ".json")
        for source, target in ((sidecar, output / f"{stem}.json"), (found[0], scan)):
            if source.is_file():
                shutil.move(source, target)
    log.info("converted %s to %s", folder, scan)
    return scan


def require_same(fresh: Path, there: Path) -> None:
    """Refuse to put a scan in the place of another.

    Raises:
        InputError: if ``there`` has other voxels or another place.
    """
    (data, affine, _, _), (old, old_affine, _, _) = read_nifti(fresh), read_nifti(there)
    if data.shape != old.shape or not (np.array_equal(data, old) and np.allclose(affine, old_affine)):
        raise InputError(f"{there} is there already and is another scan; choose another output folder.")
