"""The images a run leaves behind, under names of their own, and those of an earlier run that go."""

from __future__ import annotations

import glob
import logging
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import numpy as np

from focvs.config import RunConfig
from focvs.errors import InputError
from focvs.files import write_atomically
from focvs.reconstruction.bounds import Uncertainty
from focvs.reconstruction.forward_model import Acquisition
from focvs.reconstruction.restoration import Restoration
from focvs.report.figures import draw_planes
from focvs.scan.nifti import axis_back, write_nifti
from focvs.scan.scan import Scan

log = logging.getLogger(__name__)

MAPS = tuple(field.name for field in fields(Uncertainty))


def write_images(
    scan: Scan,
    acquisition: Acquisition,
    restoration: Restoration,
    uncertainty: Uncertainty | None,
    config: RunConfig,
    folder: Path,
) -> dict[str, Path]:
    """Write the mean, the maps of its uncertainty, samples if asked for, and the figure.

    Images of an earlier run on the same scan that this one does not write would belong to another mean: they are
    removed.

    Returns:
        Paths by name.

    Raises:
        InputError: if a file cannot be written or removed.
    """
    affine, stem = acquisition.grid.affine(scan.affine), f"{scan.stem}_{config.method}"
    paths = {}
    for name, data in _images(restoration, uncertainty, config.save_samples):
        paths[name] = folder / (f"{stem}.nii.gz" if name == "mean" else f"{stem}-{name}.nii.gz")
        write_nifti(paths[name], *axis_back(data, affine, scan.file_axis), scan.header)
    if config.figure:
        paths["figure"] = folder / f"{stem}.png"
        name = "FOCVS" if config.method == "focvs" else config.method.replace("_", " ")
        std = None if uncertainty is None else uncertainty.std
        figure = draw_planes(scan, acquisition.grid, restoration.mean, std, name)
        write_atomically(paths["figure"], ".png", figure.savefig)
    _remove_stale(folder, stem, set(paths.values()))
    return paths


def _images(
    restoration: Restoration, uncertainty: Uncertainty | None, samples: bool
) -> Iterator[tuple[str, np.ndarray]]:
    """Volumes ``(p, q, n)`` by name, one at a time."""
    yield "mean", restoration.mean
    if uncertainty is not None:
        yield from ((name, getattr(uncertainty, name)) for name in MAPS)
    if samples:
        yield from ((f"sample-{m:02d}", sample) for m, sample in enumerate(restoration.samples, start=1))


def _remove_stale(folder: Path, stem: str, written: set[Path]) -> None:
    """Remove images that an earlier run wrote under this name and this one did not.

    Raises:
        InputError: if one cannot be removed.
    """
    start = glob.escape(stem)
    patterns = [*(f"{start}-{name}.nii.gz" for name in (*MAPS, "sample-[0-9][0-9]*")), f"{start}.png"]
    found = {path for pattern in patterns for path in folder.glob(pattern)}
    for path in sorted(found - written):
        try:
            path.unlink()
        except OSError as error:
            raise InputError(f"{path} is of an earlier run and cannot be removed ({error.strerror}).") from error
        log.info("removed %s, of an earlier run", path.name)
