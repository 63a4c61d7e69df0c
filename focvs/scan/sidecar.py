"""What a scan says of its own slice thickness: override, JSON sidecars (dcm2niix, BIDS), or the spacing."""

from __future__ import annotations

import codecs
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from focvs.errors import InputError, first_line
from focvs.scan.formats import image_stem

THICKEST = 4.0  # a slice thicker than this many spacings is a mistake, not an overlap
THINNEST = 0.1  # spacings that a slice is at least thick; less is another unit
THINNEST = 0.1  # and one thinner than this is no multi-slice scan's
AGREE = 0.05  # relative difference of two spacings that are one


@dataclass(frozen=True)
class Statement:
    """What one source says, in mm; None where it is silent."""

    source: str
    thickness_mm: float | None = None
    spacing_mm: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Thickness:
    """Slice thickness in mm and how it was come by.

    Attributes:
        thickness_mm: what is used.
        source: override, sidecar, spacing, estimate, or profile, one that brings its own width.
        warnings: what was odd, a sentence each.
        interval_mm: 95 % interval of an estimate.
        statements: what every source says.
    """

    thickness_mm: float
    source: str
    warnings: tuple[str, ...] = ()
    interval_mm: tuple[float, float] | None = None
    statements: tuple[Statement, ...] = ()

    @property
    def assumed(self) -> str:
        """A sentence where nobody knows the thickness, and what to do; else empty."""
        if self.source != "spacing":
            return ""
        return (
            f"nothing says how thick its slices are: they were taken to be as thick as their spacing, "
            f"{self.thickness_mm:.4g} mm, without gaps; give thickness= in mm, or thickness=estimate to measure it."
        )

    def table(self, spacing_mm: float) -> str:
        """What each source says and what is used, a line each."""
        used = Statement("used", self.thickness_mm, spacing_mm, f"thickness from the {self.source}")
        lines = [f"{'':24s} {'thickness mm':>12s} {'spacing mm':>10s}"]
        for s in (*self.statements, used):
            thickness, spacing = ("-" if v is None else f"{v:.4g}" for v in (s.thickness_mm, s.spacing_mm))
            lines.append(f"{s.source:24s} {thickness:>12s} {spacing:>10s}  {s.note}".rstrip())
        return "\n".join(lines)


def find_thickness(scan_path: Path, spacing_mm: float, override_mm: float | None = None) -> Thickness:
    """Slice thickness from the override, else a JSON sidecar, else the spacing.

    Sidecars are ``<stem>.json`` beside the scan, and, inside a BIDS data set (one with a ``dataset_description.json``),
    those it inherits from (BIDS 1.10, inheritance principle). SliceThickness and SpacingBetweenSlices are in mm;
    numbers a thousand times what fits are taken for micrometres, with a warning.

    Args:
        scan_path: the NIfTI file.
        spacing_mm: distance of slice centres in mm, from the geometry.
        override_mm: the user's value.

    Raises:
        InputError: if the override is not between a tenth of the spacing and 4 spacings.
    """
    if override_mm is not None and not THINNEST * spacing_mm <= override_mm <= THICKEST * spacing_mm:
        raise InputError(
            f"thickness={override_mm:g} mm does not fit slices every {spacing_mm:.4g} mm; "
            f"give millimetres, from {THINNEST * spacing_mm:.4g} to {THICKEST * spacing_mm:.4g}."
        )
    statements, warnings = [Statement("geometry", None, spacing_mm)], []
    stated_mm: float | None = None
    for sidecar in sidecars(scan_path):
        try:
            content = read_sidecar(sidecar)
        except (OSError, ValueError) as error:
            warnings.append(f"{sidecar.name} could not be read ({first_line(error)}); it was ignored.")
            continue
        thickness, between = content.get("SliceThickness"), content.get("SpacingBetweenSlices")
        if thickness is None and between is None:
            continue
        statement, odd = _read(sidecar.name, thickness, between, spacing_mm)
        statements.append(statement)
        if stated_mm is None:  # the nearest file that knows
            stated_mm = statement.thickness_mm
            warnings += odd
    found = tuple(statements)
    if override_mm is not None:
        asked = Statement("thickness=", float(override_mm))
        return Thickness(float(override_mm), "override", tuple(warnings), None, (*found, asked))
    if stated_mm is not None:
        return Thickness(stated_mm, "sidecar", tuple(warnings), None, found)
    return Thickness(spacing_mm, "spacing", tuple(warnings), None, found)


def read_sidecar(path: Path) -> dict[str, Any]:
    """The object in a JSON file: UTF-8 with or without a byte order mark, UTF-16 with one, or Latin-1.

    Raises:
        OSError: if it cannot be read, as of a link to nothing.
        ValueError: if it is not JSON, or not an object.
    """
    content = path.read_bytes()
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = content.decode("utf-16")
    else:
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = content.decode("latin-1")
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__} where an object is needed")
    return found


def stated_profile(scan_path: Path) -> str | None:
    """SliceProfile of the JSON beside a scan, as ``focvs simulate`` writes it; None where there is none."""
    try:
        stated = read_sidecar(scan_path.with_name(image_stem(scan_path) + ".json"))["SliceProfile"]
    except (OSError, ValueError, KeyError):
        return None
    return stated if isinstance(stated, str) else None


def sidecars(scan_path: Path) -> Iterator[Path]:
    """JSON files that describe a scan, the nearest first: beside it, then those of its BIDS data set."""
    scan_path = scan_path.absolute()
    stem = image_stem(scan_path)
    beside = scan_path.with_name(stem + ".json")
    if beside.is_file() or beside.is_symlink():  # to nothing, perhaps, which is to be said
        yield beside
    folders = [scan_path.parent, *scan_path.parent.parents]
    root = next((i for i, folder in enumerate(folders) if (folder / "dataset_description.json").is_file()), None)
    if root is None:
        return
    *entities, suffix = stem.split("_")
    for folder in folders[: root + 1]:
        for path in sorted(folder.glob(f"*{suffix}.json"), key=lambda p: -len(p.name)):
            *others, last = path.stem.split("_")
            if path != beside and last == suffix and set(others) <= set(entities):
                yield path


def _read(name: str, thickness: Any, between: Any, spacing_mm: float) -> tuple[Statement, list[str]]:
    """What a sidecar says, its impossible numbers left out, and what is odd about them."""
    warnings: list[str] = []
    thickness, between = _number(thickness), _number(between)
    between_mm, note = _length(between, spacing_mm), ""
    thickness_mm = _length(thickness, spacing_mm)
    if thickness_mm is None and thickness is not None:
        warnings.append(
            f"{name} says SliceThickness {thickness!r}, impossible for slices every {spacing_mm:.4g} mm: ignored."
        )
    elif thickness_mm is not None and thickness_mm != thickness:
        note = "micrometres"
        warnings.append(f"{name} says SliceThickness {thickness!r}; it was taken for micrometres, {thickness_mm:g} mm.")
    if isinstance(between, int | float) and (between_mm is None or abs(between_mm / spacing_mm - 1) > AGREE):
        gap = thickness_mm is not None and abs((between + thickness_mm) / spacing_mm - 1) <= AGREE
        note = "the spacing is the gap" if gap else "the spacing is not that of the geometry"
        warnings.append(
            f"{name} says SpacingBetweenSlices {between:g} mm"
            f"{', which is the gap between slices' if gap else ''}; the geometry says {spacing_mm:.4g} mm and was used."
        )
        between_mm = float(between)
    return Statement(name, thickness_mm, between_mm, note), warnings


def _number(value: Any) -> Any:
    """A number that was written as text, or as a list of equal ones; anything else as it is."""
    if isinstance(value, list) and value and all(v == value[0] for v in value):
        value = value[0]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return value
    try:
        number = float(value.strip().removesuffix("mm").replace(",", ".") if isinstance(value, str) else value)
    except (ValueError, OverflowError):  # words, and whole numbers of hundreds of digits
        return str(value)[:20]
    return number if math.isfinite(number) else str(number)


def _length(value: Any, spacing_mm: float) -> float | None:
    """A length in mm that fits the spacing, also where it is given in micrometres; else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    for factor in (1.0, 0.001):
        length = value * factor
        if THINNEST * spacing_mm <= length <= THICKEST * spacing_mm:
            return length
    return None
