"""The images a run leaves behind, under names of their own, and those of an earlier run that go."""

from __future__ import annotations

import glob
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path

import numpy as np

from focvs.errors import InputError
from focvs.files import write_atomically
from focvs.reconstruction.bounds import Uncertainty
from focvs.reconstruction.forward_model import Acquisition
from focvs.reconstruction.restoration import Restoration
from focvs.run_config import RunConfig
from focvs.scan.isotropic import IsotropicGrid
from focvs.scan.nifti import axis_back, write_nifti
from focvs.scan.scan import Scan

log = logging.getLogger(__name__)

MAPS = tuple(field.name for field in fields(Uncertainty))
DEVIATIONS = ("std", "nullstd")  # which have no background
WINDOW_TOP = 99.5  # percentile of deviations that viewers show as white
WRITERS = 2  # images that are compressed at a time


def write_images(
    scan: Scan,
    acquisition: Acquisition,
    restoration: Restoration,
    uncertainty: Uncertainty | None,
    config: RunConfig,
    folder: Path,
) -> tuple[dict[str, Path], dict[str, str]]:
    """Write the mean, the maps of its uncertainty, samples if asked for, and the figure.

    Images of an earlier run on the same scan that this one does not write would belong to another mean: they are
    removed.

    Returns:
        Paths by name, and :func:`focvs.scan.nifti.voxels_sha256` of the images by name.

    Raises:
        InputError: if a file cannot be written or removed.
    """
    affine, stem = acquisition.grid.affine(scan.affine), scan.result(config.method)
    resample = None
    if config.isotropic is not None:
        resample = IsotropicGrid.of(restoration.mean.shape, affine, config.isotropic)
        affine = resample.affine
    paths = {"mean": folder / f"{stem}.nii.gz"}
    images, digests = {"mean": restoration.mean}, dict[str, str]()
    if uncertainty is not None:
        images |= {name: getattr(uncertainty, name) for name in MAPS}

    def write(name: str, data: np.ndarray) -> None:
        deviation = name in DEVIATIONS
        if resample is not None:
            data = resample(data, order=1 if deviation else 3)
        if deviation:
            window = (0.0, float(np.percentile(data, WINDOW_TOP)))
        else:
            data = data + np.float32(scan.background)
            window = (scan.background, scan.background + scan.units.white)
        placed = axis_back(data, affine, scan.file_axis)
        digests[name] = write_nifti(paths[name], *placed, scan.header, config.dtype, window)

    paths |= {name: folder / f"{stem}-{name}.nii.gz" for name in images if name != "mean"}
    with ThreadPoolExecutor(WRITERS) as writers:
        written = [writers.submit(write, *image) for image in images.items()]
        if config.figure:
            paths["figure"] = folder / f"{stem}.png"
            std = None if uncertainty is None else uncertainty.std
            _draw(scan, acquisition, restoration.mean, std, config.method, paths["figure"])
        for image in written:
            image.result()
    if config.save_samples or config.sampler.name == "mean":  # whose samples serve nothing else
        for m, sample in enumerate(restoration.samples, start=1):  # one at a time: they are made as they are asked for
            paths[name := f"sample-{m:02d}"] = folder / f"{stem}-sample-{m:02d}.nii.gz"
            write(name, sample)
    _remove_stale(folder, stem, set(paths.values()))
    return paths, dict(sorted(digests.items()))


def _draw(
    scan: Scan, acquisition: Acquisition, mean: np.ndarray, std: np.ndarray | None, method: str, path: Path
) -> None:
    from focvs.report.figures import draw_planes  # with matplotlib, beside the writing of images

    name = "FOCVS" if method == "focvs" else method.replace("_", " ")
    write_atomically(
        path, ".png", draw_planes(scan, acquisition.grid, mean, std, name, acquisition.thickness.assumed).savefig
    )


def _remove_stale(folder: Path, stem: str, written: set[Path]) -> None:
    """Remove images that an earlier run wrote under this name and this one did not.

    Raises:
        InputError: if one cannot be removed.
    """
    start = glob.escape(stem)
    patterns = [*(f"{start}-{name}.nii.gz" for name in (*MAPS, "sample-[0-9][0-9]*")), f"{start}.png", f"{start}.html"]
    found = {path for pattern in patterns for path in folder.glob(pattern)}
    for path in sorted(found - written):
        try:
            path.unlink()
        except OSError as error:
            raise InputError(f"{path} is of an earlier run and cannot be removed ({error.strerror}).") from error
        log.info("removed %s, of an earlier run", path.name)
