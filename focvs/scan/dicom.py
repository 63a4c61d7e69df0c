"""DICOM series in: dcm2niix (an extra, ``pip install focvs[dicom]``) writes the NIfTI and its JSON."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from isal import igzip

from focvs.errors import InputError
from focvs.files import require_writable, write_atomically
from focvs.scan.dicom_series import Series, choose_series, find_series, inspect, same_echo
from focvs.scan.dicom_tilt import place_tilted
from focvs.scan.kind import stated_kind
from focvs.scan.nifti import GZIP_LEVEL, read_nifti
from focvs.scan.scan import Scan, read_scan
from focvs.scan.sidecar import read_sidecar

log = logging.getLogger(__name__)
Image = TypeVar("Image")

# endings of names that dcm2niix gives to more than it was asked for
TILT = "_Tilt"
# keys of a sidecar that dcm2niix leaves in although it is asked not to identify anyone
IDENTIFYING = re.compile(
    r"^(Patient|Institution|Referring|Performing|Operator|Station|Accession|Study|DeviceSerial|.*UID$|.*Date$|"
    r".*DateTime$|Acquisition(Time|Date)|Series(Time|Date)|Content(Time|Date)|ProcedureStep)"
)
NIFTI_1, DESCRIPTION = (348).to_bytes(4, "little"), slice(148, 252)  # size of a header; its descrip and aux_file
COPIES = {"_Eq": "a copy resampled to even slices", TILT: "a copy corrected for gantry tilt", "_ph": "phase"}


def open_scan(
    path: Path, output: Path | None, series: str | None = None, echo: int | None = None, overwrite: bool = False
) -> Scan:
    """The scan in an image file, or in a folder of DICOM files, which is converted into ``output`` first.

    Args:
        path: file or folder.
        output: gets ``<name of the folder>.nii.gz`` and its ``.json``, unless the same scan is there already; the name
            of one of several series is followed by its number and description, one of several echoes by its number.
        series: number or description of one of several DICOM series.
        echo: number of one of its echoes, from 1.
        overwrite: whether another scan of that name may be replaced.

    Raises:
        InputError: as :func:`focvs.scan.scan.read_scan`, :func:`focvs.scan.dicom_series.choose_series` and
            :func:`focvs.scan.dicom_series.inspect`; for DICOM without an output folder, if dcm2niix is not installed or
            fails, or if another scan has that name. Nothing is left in ``output`` then.
    """
    if not path.is_dir():
        if series is not None or echo is not None:
            raise InputError(f"series= and echo= choose from a folder of DICOM files, and {path} is a file.")
        scan = read_scan(path)
        return replace(scan, warnings=(*stated_kind(path), *scan.warnings))
    scan, final, left, warnings = open_series(path, output, read_scan, series, echo, overwrite)
    return replace(scan, path=final, converted=left, warnings=(*warnings, *scan.warnings))


def open_series(
    path: Path,
    output: Path | None,
    read: Callable[[Path], Image],
    series: str | None = None,
    echo: int | None = None,
    overwrite: bool = False,
) -> tuple[Image, Path, tuple[Path, ...], list[str]]:
    """What ``read`` makes of a folder of DICOM files, which is converted into ``output``.

    Args:
        path: folder.
        output: gets its NIfTI and JSON, as :func:`open_scan` says.
        read: reads the NIfTI; nothing is left in ``output`` where it raises.
        series: number or description of one of several series.
        echo: number of one of its echoes, from 1.
        overwrite: whether another scan of that name may be replaced.

    Returns:
        The image, its NIfTI, the files that were not there before, and warnings.

    Raises:
        InputError: as :func:`open_scan`.
    """
    try:
        import dcm2niix
        import pydicom  # noqa: F401
    except ImportError as error:
        raise InputError(
            f"{path} is a folder: to read DICOM, install dcm2niix (pip install 'focvs[dicom]'), or give a NIfTI file."
        ) from error
    every = find_series(path)
    chosen = choose_series(every, path, series, echo)
    warnings = inspect(chosen, path)
    if output is None:
        raise InputError(f"{path} is a folder of DICOM files: give an output folder as well, its NIfTI is left there.")
    files = list(dict.fromkeys(plane.file for plane in chosen.planes))
    with tempfile.TemporaryDirectory() as name:
        echoes = chosen.echoes_ms
        fresh, said = convert(files, Path(name), dcm2niix.bin, path, echoes[0] if len(echoes) == 1 else None)
        try:
            if not _is_copy(fresh, TILT):
                place_tilted(fresh, chosen.planes)
            image = read(fresh)
        except InputError as error:
            raise InputError(str(error).replace(str(fresh), f"{path}: series {chosen.name}")) from error
        final, left = _leave(fresh, output, _name(path, chosen, len(every), echo), overwrite)
    return image, final, left, [*warnings, *said]


@contextmanager
def leaving_nothing() -> Iterator[list[Path]]:
    """A list for the files that conversions leave: removed, with folders that are empty then, where anything fails."""
    left: list[Path] = []
    try:
        yield left
    except BaseException:
        for path in left:
            path.unlink(missing_ok=True)
        for folder in {path.parent for path in left}:
            if not any(folder.iterdir()):
                folder.rmdir()
        raise


def convert(
    files: Sequence[Path], work: Path, program: str, folder: Path, echo_ms: float | None = None
) -> tuple[Path, list[str]]:
    """Convert the files of one series.

    Args:
        files: of one series and echo.
        work: an empty folder.
        program: path of dcm2niix.
        folder: they are from, for messages.
        echo_ms: echo time of the image that is wanted, of several that share files.

    Returns:
        The NIfTI file, its JSON beside it, and what dcm2niix warned of.

    Raises:
        InputError: if dcm2niix fails, varies the distance of slices, or makes several images.
    """
    (source := work / "dicom").mkdir()
    (target := work / "nifti").mkdir()
    for i, file in enumerate(files):  # links, so that nothing else in the folder is converted
        _link(file.resolve(), source / f"{i:05d}.dcm")
    command = [program, "-b", "y", "-z", "y", "-f", "scan", "-o", str(target), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace")
    lines = [line.strip().replace(str(source), str(folder)) for line in (done.stdout + done.stderr).splitlines()]
    warnings = [line for line in lines if line.startswith(("Warning", "Error"))]
    if line := next((line for line in lines if "distance varies" in line.lower()), ""):
        raise InputError(f"{folder}: the distance of its slices varies ({line}); give evenly spaced slices.")
    found = sorted(target.glob("*.nii.gz"))
    if done.returncode or not found:
        reason = warnings[-1] if warnings else lines[-1] if lines else "it said nothing"
        raise InputError(f"{folder}: dcm2niix ended with {done.returncode} ({reason}); is the series complete?")
    if len(found) > 1 and echo_ms is not None:
        found = [path for path in found if _is_echo(path, echo_ms)] or found
    acquired = [path for path in found if not _is_copy(path, TILT)]
    found = acquired or found  # a stack that leans is straightened here, from what was acquired
    if len(found) > 1:
        names = ", ".join(_kind(path) for path in found)
        raise InputError(f"{folder}: dcm2niix made {len(found)} images of one series ({names}); convert it by hand.")
    for ending, kind in COPIES.items():
        if _is_copy(found[0], ending) and ending == TILT:
            warnings.append(f"dcm2niix wrote {kind} only, and the result reproduces its interpolated slices.")
        elif _is_copy(found[0], ending):
            raise InputError(
                f"{folder}: dcm2niix made {kind} only, which is not what was acquired; convert it by hand."
            )
    return found[0], warnings


def require_same(fresh: Path, there: Path) -> None:
    """Refuse to put a scan in the place of another.

    Raises:
        InputError: if ``there`` has other voxels or another place.
    """
    (data, affine, _, _), (old, old_affine, _, _) = read_nifti(fresh), read_nifti(there)
    if data.shape != old.shape or not (np.array_equal(data, old) and np.allclose(affine, old_affine)):
        raise InputError(f"{there} is there already and is another scan; choose another output folder.")


def _leave(fresh: Path, output: Path, stem: str, overwrite: bool) -> tuple[Path, tuple[Path, ...]]:
    """Put a converted scan and its JSON into the output folder, unless they are there.

    Returns:
        The file of the scan, and the files that were not there before.
    """
    scan = output / f"{stem}.nii.gz"
    if scan.exists() and not overwrite:
        require_same(fresh, scan)
        return scan, ()
    require_writable(output)
    left = []
    sidecar = fresh.with_name(fresh.name.removesuffix(".nii.gz") + ".json")
    if sidecar.is_file():
        strip_identity(sidecar)
    strip_description(fresh)
    for source, target in ((sidecar, output / f"{stem}.json"), (fresh, scan)):
        if source.is_file():
            left += [] if target.exists() else [target]
            write_atomically(target, "".join(target.suffixes[-2:]), partial(shutil.copyfile, source))
    log.info("converted to %s", scan)
    return scan, tuple(left)


def strip_identity(sidecar: Path) -> None:
    """Take out of a JSON of dcm2niix what says who was scanned, where and when; one that is no JSON is removed."""
    try:
        told = json.loads(sidecar.read_text(encoding="utf-8"))
        kept = {key: value for key, value in told.items() if not IDENTIFYING.search(key)}
        sidecar.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    except (OSError, ValueError, AttributeError):
        sidecar.unlink()


def strip_description(image: Path) -> None:
    """Blank the texts in the header of a .nii.gz of dcm2niix, which say at what time of day it was acquired."""
    content = bytearray(igzip.decompress(image.read_bytes()))
    if content[:4] == NIFTI_1:
        content[DESCRIPTION] = bytes(DESCRIPTION.stop - DESCRIPTION.start)
        image.write_bytes(igzip.compress(bytes(content), GZIP_LEVEL, mtime=0))


def _name(folder: Path, series: Series, count: int, echo: int | None) -> str:
    """What a converted scan is called."""
    words = [folder.resolve().name]
    if count > 1:
        words += [re.sub(r"\W+", "-", word).strip("-") for word in (series.number, series.description)]
    return "_".join([*filter(None, words), *([f"echo{echo}"] if echo is not None else [])])


def _is_copy(path: Path, ending: str) -> bool:
    """Whether dcm2niix gave an image a certain ending of its name."""
    return f"{ending}_" in path.name or path.name.endswith(f"{ending}.nii.gz")


def _is_echo(path: Path, echo_ms: float) -> bool:
    """Whether the JSON of a converted image has an echo time."""
    try:
        stated = read_sidecar(path.with_name(path.name.removesuffix(".nii.gz") + ".json")).get("EchoTime")
    except (OSError, ValueError):
        return False
    return isinstance(stated, int | float) and same_echo(1000 * stated, echo_ms)


def _link(file: Path, link: Path) -> None:
    try:
        os.symlink(file, link)
    except OSError:  # of a system without links
        shutil.copy(file, link)


def _kind(path: Path) -> str:
    name = path.name.removesuffix(".nii.gz")
    return next((kind for ending, kind in COPIES.items() if ending in name), name)
