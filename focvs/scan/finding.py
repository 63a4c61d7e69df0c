"""Scans in a folder and those below it: image files, and DICOM series told apart."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from focvs.errors import InputError
from focvs.scan.dicom_series import Series, list_series
from focvs.scan.formats import SUFFIXES, image_stem, is_dicom

SECOND_FILES = (".hdr", ".hdr.gz")  # of a pair, whose other one is the image
DICOM_BEGINNING = 132  # bytes of the preamble and the word behind it
RESULT = re.compile(r".*_focvs(-(std|nullstd|q05|q95|sample-\d+))?")  # names of images that are results


@dataclass(frozen=True)
class Found:
    """A scan that may be restored.

    Attributes:
        path: image file, or folder of a DICOM series.
        place: folder of its results, relative to that of all.
        series: number of the series, where its folder holds several.
        echo: of that series, from 1, where it holds several.
        fault: why it cannot be read, a sentence.
    """

    path: Path
    place: Path
    series: str | None = None
    echo: int | None = None
    fault: str = ""

    @property
    def name(self) -> str:
        """For people."""
        words = [str(self.place / self.path.name) if self.path.is_file() else str(self.place)]
        words += [f"series {self.series}"] if self.series else []
        words += [f"echo {self.echo}"] if self.echo else []
        return ", ".join(words)


def find_scans(folder: Path, output: Path) -> list[Found]:
    """Image files, then DICOM series; results of ours, hidden files and the output folder are passed over.

    Raises:
        InputError: for DICOM files where pydicom is not installed.
    """
    files = list(_files(folder, output))
    found = [Found(path, path.parent.relative_to(folder)) for path in files if is_image(path)]
    try:
        every, broken = list_series(folder)
    except ImportError as error:
        if any(_begins_as_dicom(path) for path in files if not is_image(path)):
            raise InputError(
                f"{folder} holds DICOM files: install what reads them (pip install 'focvs[dicom]')."
            ) from error
        every, broken = [], {}
    found += [
        Found(path, path.parent.relative_to(folder), fault=said)
        for path, said in broken.items()
        if output not in path.parents
    ]
    every = [series for series in every if not any(output in plane.file.parents for plane in series.planes)]
    places = [_folder_of(series, folder) for series in every]
    shared = Counter(places)
    for series, place in zip(every, places, strict=True):
        number = series.number if shared[place] > 1 else None
        echoes = range(1, len(series.echoes_ms) + 1) if len(series.echoes_ms) > 1 else (None,)
        found += [Found(place, place.relative_to(folder), number, echo) for echo in echoes]
    return found


def is_image(path: Path) -> bool:
    """Whether a file has the name of an image that can be read, and not of a result of ours."""
    name = path.name.lower()
    return name.endswith(SUFFIXES) and not name.endswith(SECOND_FILES) and not RESULT.fullmatch(image_stem(path))


def _begins_as_dicom(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return is_dicom(stream.read(DICOM_BEGINNING))
    except OSError:
        return False


def _files(folder: Path, output: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and Path(here, f) != output)
        yield from (Path(here, name) for name in sorted(files) if not name.startswith("."))


def _folder_of(series: Series, folder: Path) -> Path:
    """The deepest folder with all files of a series."""
    parents = {str(plane.file.parent) for plane in series.planes}
    return Path(os.path.commonpath(parents)) if parents else folder
