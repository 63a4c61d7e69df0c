"""Scans in a folder and those below it: image files, and DICOM series told apart."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from focvs.errors import InputError
from focvs.scan.dicom_series import Series, find_series
from focvs.scan.formats import SUFFIXES, image_stem

SECOND_FILES = (".hdr", ".hdr.gz")  # of a pair, whose other one is the image
RESULT = re.compile(r".*_focvs(-(std|nullstd|q05|q95|sample-\d+))?")  # names of images that are results


@dataclass(frozen=True)
class Found:
    """A scan that may be restored.

    Attributes:
        path: image file, or folder of a DICOM series.
        place: folder of its results, relative to that of all.
        series: number of the series, where its folder holds several.
        echo: of that series, from 1, where it holds several.
    """

    path: Path
    place: Path
    series: str | None = None
    echo: int | None = None

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
        InputError: as :func:`focvs.scan.dicom_series.find_series`, where there is nothing at all.
    """
    images = [path for path in _files(folder, output) if is_image(path)]
    found = [Found(path, path.parent.relative_to(folder)) for path in images]
    try:
        every = find_series(folder)
    except (InputError, ImportError):  # no DICOM, or nothing that reads it
        every = []
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


def _files(folder: Path, output: Path) -> Iterator[Path]:
    for here, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith(".") and Path(here, f) != output)
        yield from (Path(here, name) for name in sorted(files) if not name.startswith("."))


def _folder_of(series: Series, folder: Path) -> Path:
    """The deepest folder with all files of a series."""
    parents = {str(plane.file.parent) for plane in series.planes}
    return Path(os.path.commonpath(parents)) if parents else folder
