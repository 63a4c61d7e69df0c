"""A scan made ready for its forward model: its background taken off, missing slices named, brightness made even."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from focvs.scan.background import without_background
from focvs.scan.brightness import balance_slices
from focvs.scan.dicom import leaving_nothing, open_scan
from focvs.scan.missing import fill_missing, find_missing
from focvs.scan.scan import Scan


def prepare_scan(
    path: Path,
    output: Path | None,
    slice_gains: str = "auto",
    exclude: Sequence[int] = (),
    series: str | None = None,
    echo: int | None = None,
    overwrite: bool = False,
) -> Scan:
    """Read a scan and undo what no forward model of slices explains.

    Args:
        path: image file, or folder of DICOM files.
        output: gets the NIfTI of a DICOM series.
        slice_gains: ``auto`` or ``off``; slices of a scan whose background is not zero keep their brightness.
        exclude: numbers of slices to leave out, from 0.
        series: of a DICOM folder.
        echo: of that series.
        overwrite: whether its NIfTI takes the place of another scan's.

    Raises:
        InputError: as :func:`open_scan`, :func:`without_background`, :func:`find_missing` and :func:`balance_slices`.
    """
    with leaving_nothing() as left:
        opened = open_scan(path, output, series, echo, overwrite)
        left += opened.converted
        scan = find_missing(without_background(opened), exclude)
        even = balance_slices(scan, "off" if scan.background and slice_gains == "auto" else slice_gains)
    return fill_missing(even)  # between slices of their true brightness
