"""What a folder of DICOM files holds: its series, where their slices lie, and why one of them is no multi-slice MRI."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from focvs.errors import InputError, NoScanError, first_line
from focvs.scan.kind import Kind, words_of

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SAME_DIRECTION = 0.999  # cosine of the angle between normals that are one
SAME_PLACE_MM = 0.01
SAME_ECHO = 0.01  # relative difference
ROUNDED_MM = 0.15  # by which the distance of two places may be off that are rounded to a tenth of a millimetre
UNEVEN = 0.02  # of the usual distance of slices, by which one may differ
UNTOLD = "unnamed"
TAGS = [
    "Modality",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ImageType",
    "BodyPartExamined",
    "MRAcquisitionType",
    "EchoTime",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "NumberOfFrames",
    "Rows",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]


@dataclass(frozen=True, eq=False)
class Plane:
    """One slice: its file, position of its first pixel and normal in mm (LPS), and its echo time in ms or None."""

    file: Path
    position: np.ndarray
    normal: np.ndarray
    echo_ms: float | None


@dataclass(frozen=True, eq=False)
class Series:
    """The slices of one SeriesInstanceUID, and what the headers say of them.

    Attributes:
        number: SeriesNumber.
        description: SeriesDescription.
        modality: MR, CT ...
        image_types: words of ImageType of all slices.
        body_part: BodyPartExamined.
        three_dimensional: whether MRAcquisitionType is 3D.
        planes: in no order.
    """

    number: str
    description: str
    modality: str
    image_types: frozenset[str]
    body_part: str
    three_dimensional: bool
    planes: tuple[Plane, ...]

    @property
    def echoes_ms(self) -> list[float]:
        """Echo times, the shortest first; those that differ by rounding are one."""
        distinct: list[float] = []
        for echo_ms in sorted({plane.echo_ms for plane in self.planes if plane.echo_ms is not None}):
            if not distinct or not same_echo(echo_ms, distinct[-1]):
                distinct.append(echo_ms)
        return distinct

    @property
    def name(self) -> str:
        """Number and description."""
        return f"{self.number} {self.description}"

    def of_echo(self, echo_ms: float) -> Series:
        """The slices of one echo."""
        planes = tuple(p for p in self.planes if p.echo_ms is not None and same_echo(p.echo_ms, echo_ms))
        return replace(self, planes=planes)


def same_echo(first_ms: float, second_ms: float) -> bool:
    """Whether two echo times are one."""
    return abs(first_ms - second_ms) <= SAME_ECHO * max(abs(first_ms), abs(second_ms))


def find_series(folder: Path) -> list[Series]:
    """The series with images in a folder and those below it, by number.

    Raises:
        InputError: if there is none, where NIfTI files that lie there are named, or a DICOM file cannot be read.
    """
    found, broken = list_series(folder)
    if broken:
        raise InputError(next(iter(broken.values())))
    if not found:
        images = sorted(p.name for p in folder.iterdir() if p.name.lower().endswith((".nii", ".nii.gz")))
        if images:
            raise InputError(f"{folder} holds image files ({_listed(images)}) and no DICOM series; give one of them.")
        raise InputError(f"{folder} holds no DICOM series; give a .nii or .nii.gz file, or the folder of one series.")
    return found


def list_series(folder: Path) -> tuple[list[Series], dict[Path, str]]:
    """The same, none included, and DICOM files that cannot be read, with a sentence on each."""
    found: dict[str, list[tuple[Dataset, Path]]] = defaultdict(list)
    broken: dict[Path, str] = {}
    for path, header in _headers(folder):
        if isinstance(header, str):
            broken[path] = header
        elif header.get("Rows") is not None:
            found[str(header.get("SeriesInstanceUID", ""))].append((header, path))
    series = (_series(members) for members in found.values())
    return sorted(series, key=lambda s: (len(s.number), s.name)), broken


def choose_series(found: Sequence[Series], folder: Path, series: str | None, echo: int | None) -> Series:
    """One series, and one echo of it.

    Args:
        found: what there is.
        folder: it is in.
        series: number or description; None where there is one.
        echo: number of the echo from 1, by echo time; None where there is one.

    Raises:
        InputError: naming what can be chosen.
    """
    chosen = [s for s in found if series is None or series in (s.number, s.description)]
    names = _listed(
        [f"{s.name} ({len(s.planes)} slices{'' if s.modality == 'MR' else ', ' + s.modality})" for s in found]
    )
    if series is not None and not chosen:
        raise InputError(f"series={series} is not in {folder}, which holds {names}; give one of these numbers.")
    if len(chosen) > 1:
        raise InputError(
            f"{folder} holds {len(chosen)} series: {names}; choose one with series=NUMBER, or give a folder with one."
        )
    one = chosen[0]
    echoes = one.echoes_ms
    if echo is not None and not 1 <= echo <= max(len(echoes), 1):
        raise InputError(f"echo={echo}, but series {one.name} has {max(len(echoes), 1)}; give a number from 1.")
    if len(echoes) > 1 and echo is None:
        times = _listed([f"echo={i}: {ms:g} ms" for i, ms in enumerate(echoes, start=1)])
        raise InputError(f"{folder}: series {one.name} holds {len(echoes)} echoes ({times}); choose one with echo=.")
    return one.of_echo(echoes[echo - 1]) if echo is not None and len(echoes) > 1 else one


def inspect(series: Series, folder: Path) -> list[str]:
    """What is odd about a series, a sentence each.

    Raises:
        InputError: if it is no MRI, not a magnitude, or no stack of parallel, evenly spaced slices.
    """
    kind = Kind(series.modality, series.image_types, series.body_part, series.three_dimensional)
    warnings = kind.warnings(f"{folder}: series {series.name}")
    _require_stack(series, folder)
    return warnings


def _require_stack(series: Series, folder: Path) -> None:
    """Refuse slices that are not parallel, doubled, missing or unevenly spaced."""
    if not series.planes:
        raise InputError(f"{folder}: series {series.name} does not say where its slices lie; it cannot be restored.")
    normals = [plane.normal for plane in series.planes]
    directions: list[np.ndarray] = []
    for normal in normals:
        if not any(abs(normal @ known) > SAME_DIRECTION for known in directions):
            directions.append(normal)
    if len(directions) > 1:
        raise NoScanError(
            f"{folder}: series {series.name} has slices of {len(directions)} orientations, as a localizer (scout) has; "
            "give a series of parallel slices."
        )
    places = np.array([plane.position @ normals[0] for plane in series.planes])
    sorted_mm = np.sort(places)
    steps = np.diff(sorted_mm)
    if (steps < SAME_PLACE_MM).any():
        at = sorted_mm[:-1][steps < SAME_PLACE_MM]
        raise InputError(
            f"{folder}: series {series.name} has {len(places)} slices, of which {len(at)} lie where another does, the "
            f"first at {at[0]:.4g} mm; give one volume (one repetition, echo or contrast)."
        )
    if len(steps) < 2:
        return
    usual = float(np.median(steps))
    odd = np.abs(steps - usual) > max(UNEVEN * usual, ROUNDED_MM)
    if odd.any():
        multiples = steps[odd] / usual
        gaps = [f"{steps[i]:.4g} mm between slices {i + 1} and {i + 2}" for i in odd.nonzero()[0]]
        lost = (np.abs(multiples - multiples.round()) < 2 * UNEVEN).all() and len(multiples) <= len(steps) / 4
        why = f"slices are missing ({int((multiples.round() - 1).sum())})" if lost else "slices are unevenly spaced"
        raise InputError(
            f"{folder}: series {series.name}: {why}, {_listed(gaps)}, where {usual:.4g} mm is the usual distance; "
            + ("copy the series again." if lost else "give slices at one spacing.")
        )


def _headers(folder: Path) -> Iterator[tuple[Path, Dataset | str]]:
    """Files and their headers, or what is wrong with those of DICOM that cannot be read."""
    from pydicom import dcmread
    from pydicom.errors import InvalidDicomError

    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            yield path, dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
        except InvalidDicomError:
            continue  # a picture, a text
        except Exception as error:  # pydicom raises many kinds for a file that is cut short
            yield path, f"{path} is a DICOM file that cannot be read ({first_line(error)}); copy it again."


def _series(members: Sequence[tuple[Dataset, Path]]) -> Series:
    header = members[0][0]
    return Series(
        number=_words(header, "SeriesNumber") or "?",
        description=_words(header, "SeriesDescription") or UNTOLD,
        modality=_words(header, "Modality") or "MR",
        image_types=frozenset(str(word).upper() for h, _ in members for word in words_of(h.get("ImageType"))),
        body_part=_words(header, "BodyPartExamined"),
        three_dimensional=header.get("MRAcquisitionType") == "3D",
        planes=tuple(plane for h, path in members for plane in _planes(h, path)),
    )


def _words(header: Dataset, name: str) -> str:
    """The text of an attribute on one line; nothing where there is none."""
    value = header.get(name)
    return "" if value is None else " ".join(str(value).split())


def _planes(header: Dataset, path: Path) -> Iterator[Plane]:
    """The slices of a file: one, or those of an enhanced object; slices without a place are left out."""
    frames: Iterable[Any] = header.get("PerFrameFunctionalGroupsSequence") or [header]
    shared = (header.get("SharedFunctionalGroupsSequence") or [None])[0]
    for frame in frames:
        position = _found("ImagePositionPatient", "PlanePositionSequence", frame, shared, header)
        orientation = _found("ImageOrientationPatient", "PlaneOrientationSequence", frame, shared, header)
        echo = _found("EchoTime", "MREchoSequence", frame, shared, header)
        if echo is None:
            echo = _found("EffectiveEchoTime", "MREchoSequence", frame, shared, header)
        try:
            place, axes = np.array(position, dtype=float), np.array(orientation, dtype=float)
            if place.shape != (3,) or axes.shape != (6,):
                continue
            normal = np.cross(axes[:3], axes[3:])
            length = float(np.linalg.norm(normal))
            if np.isfinite(place).all() and length > 0.5:
                yield Plane(path, place, normal / length, None if echo is None else float(echo))
        except (TypeError, ValueError):
            continue


def _found(name: str, sequence: str, *groups: Any) -> Any:
    """An attribute of the first group that has it, itself or in a sequence of one."""
    for group in groups:
        if group is None:
            continue
        inner = group.get(sequence)
        for place in (group, inner[0] if inner else None):
            if place is not None and place.get(name) is not None:
                return place.get(name)
    return None


def _listed(names: Sequence[str], most: int = 4) -> str:
    counted = Counter(names)
    words = list(counted)
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
