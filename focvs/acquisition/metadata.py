"""What a scan says of its own slice thickness: override, dcm2niix sidecar, or the spacing."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from focvs.errors import InputError

THICKEST = 4.0  # a slice thicker than this many spacings is a mistake, not an overlap


@dataclass(frozen=True)
class Thickness:
    """Slice thickness in mm, where it came from, what was odd, and the 95 % interval of an estimate."""

    thickness_mm: float
    source: str  # override | sidecar | spacing | estimate
    warnings: tuple[str, ...] = ()
    interval_mm: tuple[float, float] | None = None


def find_thickness(scan_path: Path, spacing_mm: float, override_mm: float | None = None) -> Thickness:
    """Slice thickness from the override, else the JSON beside the scan (dcm2niix, mm), else the spacing.

    Args:
        scan_path: the NIfTI file; ``<stem>.json`` beside it is read.
        spacing_mm: distance of slice centres in mm.
        override_mm: the user's value.

    Raises:
        InputError: if the override is not above 0 and at most 4 spacings.
    """
    if override_mm is not None:
        if not 0 < override_mm <= THICKEST * spacing_mm:
            raise InputError(
                f"thickness={override_mm:g} mm does not fit slices every {spacing_mm:.4g} mm; "
                f"give a value above 0 and at most {THICKEST * spacing_mm:.4g}."
            )
        return Thickness(float(override_mm), "override")
    sidecar = scan_path.with_name(scan_path.name.removesuffix(".gz").removesuffix(".nii") + ".json")
    if sidecar.is_file():
        try:
            content = json.loads(sidecar.read_text())
            thickness = content.get("SliceThickness")
            between = content.get("SpacingBetweenSlices")
        except (OSError, ValueError, AttributeError) as error:
            return Thickness(spacing_mm, "spacing", (f"{sidecar.name} could not be read ({error}); it was ignored.",))
        warnings = []
        if isinstance(between, int | float) and abs(between - spacing_mm) > 0.05 * spacing_mm:
            warnings.append(
                f"{sidecar.name} says SpacingBetweenSlices {between:g} mm, the geometry {spacing_mm:.4g} mm; "
                "the geometry was used."
            )
        if isinstance(thickness, int | float) and 0 < thickness <= THICKEST * spacing_mm:
            return Thickness(float(thickness), "sidecar", tuple(warnings))
        if thickness is not None:
            warnings.append(
                f"{sidecar.name} says SliceThickness {thickness}, impossible for slices every {spacing_mm:.4g} mm "
                "(micrometres?); the spacing was used."
            )
        return Thickness(spacing_mm, "spacing", tuple(warnings))
    return Thickness(spacing_mm, "spacing")
