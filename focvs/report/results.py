"""What a run leaves behind: NIfTI images, the figure, and a JSON whose residual is measured on the re-read file."""

from __future__ import annotations

import glob
import itertools
import logging
import resource
import sys
from collections.abc import Iterable
from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from focvs import __version__
from focvs.config import RunConfig
from focvs.files import write_atomically, write_json
from focvs.priors.pretrained import Prior
from focvs.reconstruction.forward_model import Acquisition
from focvs.report.figures import draw_planes
from focvs.scan.nifti import read_nifti, write_nifti
from focvs.scan.scan import Scan

if TYPE_CHECKING:
    from focvs.reconstruction.restoration import Restoration

log = logging.getLogger(__name__)


def write_images(
    scan: Scan,
    acquisition: Acquisition,
    images: dict[str, np.ndarray],
    samples: Iterable[np.ndarray],
    config: RunConfig,
    folder: Path,
) -> dict[str, Path]:
    """Write every image ``(p, q, n)`` in the file's axis order, samples if asked for, and the figure.

    Returns:
        Paths by name.
    """
    affine = acquisition.grid.affine(scan.affine, scan.axis)
    paths = {}
    named = ((f"sample-{m:02d}", sample) for m, sample in enumerate(samples, start=1))
    for name, data in itertools.chain(images.items(), named if config.save_samples else ()):
        suffix = "" if name == "mean" else f"-{name}"
        paths[name] = folder / f"{scan.stem}_{config.method}{suffix}.nii.gz"
        write_nifti(paths[name], np.moveaxis(data, -1, scan.axis), affine, scan.header)
    start = f"{glob.escape(scan.stem)}_{config.method}-"
    found = {path for end in ("sample-*", "q05", "q95") for path in folder.glob(f"{start}{end}.nii.gz")}
    if older := sorted(path.name for path in found - set(paths.values())):
        log.warning("of an earlier run, not of this: %s", ", ".join(older))
    if config.figure:
        paths["figure"] = folder / f"{scan.stem}_{config.method}.png"
        spread = images.get("std") if config.samples > 1 else None
        name = "FOCVS" if config.method == "focvs" else config.method.replace("_", " ")
        figure = draw_planes(scan, acquisition.grid, images["mean"], spread, name)
        write_atomically(paths["figure"], ".png", figure.savefig)
    return paths


def write_sidecar(scan: Scan, report: dict[str, Any], folder: Path) -> Path:
    """Write the JSON beside the images."""
    path = folder / f"{scan.stem}_{report['method']}.json"
    write_json(path, report)
    return path


def measure_consistency(scan: Scan, acquisition: Acquisition, path: Path, noise_sigma: float) -> dict[str, Any]:
    """Degrade a written volume again and compare it with the scan, in the scan's units.

    ``relative_residual`` is the largest absolute residual over the scan's intensity range; ``chi2`` the mean
    squared residual over the noise variance (0 after exact replacement, 1 where the data are fitted to the noise).
    """
    volume = torch.from_numpy(np.moveaxis(read_nifti(path)[0], scan.axis, -1).copy())
    largest, squares = 0.0, 0.0
    for slab, y in zip(volume, torch.from_numpy(scan.data), strict=True):
        residual = acquisition.written(slab.double()) - y.double()
        largest = max(largest, float(residual.abs().max()))
        squares += float(residual.square().sum())
    mean_square = squares / scan.data.size
    return {
        "max_abs_residual": largest,
        "relative_residual": largest / float(np.ptp(scan.data)),
        "chi2": mean_square / noise_sigma**2 if noise_sigma > 0 else None,
    }


def describe_run(
    scan: Scan,
    acquisition: Acquisition,
    restoration: Restoration,
    prior: Prior | None,
    config: RunConfig,
    device: str,
    seconds: dict[str, float],
    mean_path: Path,
) -> dict[str, Any]:
    """The content of the JSON."""
    measured = measure_consistency(scan, acquisition, mean_path, restoration.noise_sigma)
    named = ("total", "sampling", "network", "replacement", "calibration", "adaptation", "alignment")
    return {
        "version": __version__,
        "config": plain(asdict(config)),
        "method": config.method,
        "prior": prior and {"name": config.prior.name, "sha256": prior.sha256, "adapted": config.adapt},
        "acquisition": acquisition.describe(scan),
        "noise_sigma": restoration.noise_sigma,
        "consistency": {
            "rule": restoration.rule,
            "final_replacement": restoration.exact,
            **measured,
            "chi2_before_last_replacement": restoration.chi2_before_last_replacement,
        },
        "interval": restoration.interval and asdict(restoration.interval),
        "samples": len(restoration.seeds),
        "seeds": restoration.seeds,
        "device": device,
        "seconds": {name: round(seconds.get(name, 0.0), 2) for name in named},
        "peak_memory_mib": round(peak_memory_mib(), 1),
        "warnings": restoration.warnings,
    }


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def plain(value: Any) -> Any:
    """Enumerations by their values, in dictionaries of any depth."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    return value.value if isinstance(value, Enum) else value
