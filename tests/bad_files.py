"""Files that cannot be worked with, and the words of a command line for them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
from pydicom.uid import generate_uid

from dicom_files import write_localizer, write_series
from scans import write_scan

AFFINE = np.diag([-1.2, 1.2, 6.0, 1.0])
SHAPE = (40, 44, 12)


def head(shape=SHAPE) -> np.ndarray:
    """Something bright in the middle of dark air."""
    places = np.stack(np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij"))
    inside = np.sqrt((places**2).sum(0)) < 0.9
    return np.where(inside, 600 + 80 * np.sin(7 * places.sum(0)), 3 + 2 * np.cos(50 * places[0])).astype(np.float32)


def scan(folder: Path, data=None, affine=AFFINE, name="scan.nii.gz", **codes) -> Path:
    return write_scan(folder / name, head() if data is None else data, affine, **codes)


def restored(*keys: str, data=None, affine=AFFINE, name="scan.nii.gz") -> Callable[[Path], list[str]]:
    """A restoration of a scan with some keys."""
    return lambda folder: [
        str(scan(folder, None if data is None else data(), affine, name)),
        str(folder / "out"),
        *keys,
    ]


def of_file(name: str, content: bytes) -> Callable[[Path], list[str]]:
    def words(folder: Path) -> list[str]:
        (folder / name).write_bytes(content)
        return [str(folder / name), str(folder / "out")]

    return words


def changed(change: Callable[[bytearray], None]) -> Callable[[Path], list[str]]:
    """A scan of which some bytes of the uncompressed file are changed."""

    def words(folder: Path) -> list[str]:
        content = bytearray(scan(folder, name="scan.nii").read_bytes())
        change(content)
        (folder / "scan.nii").write_bytes(bytes(content))
        return [str(folder / "scan.nii"), str(folder / "out")]

    return words


def damaged(folder: Path) -> list[str]:
    content = bytearray(gzip.compress(scan(folder, name="plain.nii").read_bytes(), compresslevel=0))
    content[len(content) // 2] ^= 0x5A
    (folder / "scan.nii.gz").write_bytes(bytes(content))
    return [str(folder / "scan.nii.gz"), str(folder / "out")]


def dicom(*keys: str, **tags) -> Callable[[Path], list[str]]:
    def words(folder: Path) -> list[str]:
        slices = head((14, 16, len(tags.get("places", range(12))))).astype(np.uint16)
        return [str(write_series(folder / "series", slices, **tags)), str(folder / "out"), *keys]

    return words


def echoes(folder: Path) -> list[str]:
    uids, slices = (generate_uid(), generate_uid(), generate_uid()), head((14, 16, 12)).astype(np.uint16)
    write_series(folder / "series", slices, series=uids, EchoTime=20)
    write_series(folder / "series", slices, series=uids, first=12, EchoTime=95)
    return [str(folder / "series"), str(folder / "out")]


def localizer(folder: Path) -> list[str]:
    return [str(write_localizer(folder / "series", head((14, 16, 12)).astype(np.uint16))), str(folder / "out")]


def one_dicom_file(folder: Path) -> list[str]:
    series = write_series(folder / "series", head((14, 16, 12)).astype(np.uint16))
    return [str(series / "01_000.dcm"), str(folder / "out")]


def folder_of_volumes(folder: Path) -> list[str]:
    (folder / "scans").mkdir()
    scan(folder / "scans", affine=np.diag([1.2, 1.2, 1.2, 1.0]))
    return [str(folder / "scans"), str(folder / "out")]


def pair_header(folder: Path) -> list[str]:
    nib.save(nib.Nifti1Pair(head(), AFFINE), folder / "scan.img")
    (folder / "scan.hdr").rename(folder / "scan.nii")
    return [str(folder / "scan.nii"), str(folder / "out")]


def standardised() -> np.ndarray:
    data = head()
    inside = data > 100
    return np.where(inside, (data - data[inside].mean()) / data[inside].std(), 0).astype(np.float32)


def mostly_empty() -> np.ndarray:
    data = head()
    data[..., [2, 3, 5, 7, 9]] = 0
    return data


def sheared() -> np.ndarray:
    affine = AFFINE.copy()
    affine[1, 2] = 8.0
    return affine


def sheared_scan(folder: Path) -> list[str]:
    return [str(scan(folder, affine=sheared(), qcode=0)), str(folder / "out")]


def of_other_head(folder: Path) -> list[str]:
    far = np.diag([6.0, 1.2, 1.2, 1.0])
    far[:3, 3] = 500
    second = scan(folder, head((12, 40, 44)), far, "second.nii.gz")
    return [str(scan(folder)), str(second), str(folder / "out"), "align=headers"]


def guide_elsewhere(folder: Path) -> list[str]:
    far = np.diag([1.2, 1.2, 1.2, 1.0])
    far[:3, 3] = 500
    guide = scan(folder, head((40, 44, 44)), far, "t1.nii.gz")
    return [str(scan(folder)), str(folder / "out"), f"guide={guide}", "align=headers", "method=guided_filter"]


def locked_folder(folder: Path) -> list[str]:
    words = restored("method=linear", "thickness=5")(folder)
    (folder / "out").mkdir()
    lock = {"pid": 1, "host": "node7", "since": "2026-01-02T03:04:05+00:00"}
    (folder / "out" / ".scan_linear.lock").write_text(json.dumps(lock))
    return words


def file_as_folder(folder: Path) -> list[str]:
    (folder / "out").write_text("a file")
    return [str(scan(folder)), str(folder / "out")]


def _bytes(start: int, content: bytes) -> Callable[[bytearray], None]:
    def change(data: bytearray) -> None:
        data[start : start + len(content)] = content

    return change
