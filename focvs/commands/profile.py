"""focvs profile: the slice profile of a scan, from the scan itself, with a picture of the evidence."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from focvs.acquisition.estimation import ProfileEstimate
from focvs.acquisition.profile import EXCITED
from focvs.config import EstimateConfig
from focvs.errors import InputError
from focvs.files import require_writable, write_atomically, write_json
from focvs.reconstruction.forward_model import slice_spacing
from focvs.reconstruction.thickness import profile_of_scan
from focvs.report.figures import draw_profile
from focvs.report.ownership import require_own
from focvs.scan.dicom import leaving_nothing
from focvs.scan.preparation import prepare_scan
from focvs.scan.sidecar import find_thickness

log = logging.getLogger(__name__)

METHODS = ("spectral", "adversarial")
PROFILE = "profile"  # in the names of its files
KNOTS = 201  # of the written profile


def estimate_scan_profile(config: EstimateConfig) -> dict[str, Path]:
    """Estimate the width of a scan's slice profile and write profile, picture and JSON.

    A scan tells the width well and the shape badly, so the widths of the other shapes that fit are given as well.

    Returns:
        Paths by name: ``profile`` (.npy, positions in mm and weights), ``figure``, ``json``.

    Raises:
        InputError: for an unreadable scan, one that does not tell its profile, or an unknown method.
    """
    with leaving_nothing() as converted:
        return _estimate(config, converted)


def _estimate(config: EstimateConfig, converted: list[Path]) -> dict[str, Path]:
    """:func:`estimate_scan_profile`; ``converted`` gets the files that a DICOM series left in the output folder."""
    if config.method not in METHODS:
        raise InputError(f"method={config.method} is not known; choose one of {', '.join(METHODS)}.")
    if config.seeds < 2:
        raise InputError(f"seeds={config.seeds} leaves no spread to judge by; give at least 2.")
    seeds = config.seeds if config.method == "adversarial" else None
    folder = Path(config.output_dir or Path(config.scan).parent)
    scan = prepare_scan(
        Path(config.scan),
        folder if config.output_dir else None,
        config.slice_gains,
        config.exclude,
        config.series,
        config.echo,
        config.overwrite,
    )
    converted += scan.converted
    for warning in scan.warnings:
        log.warning("%s: %s", scan.path.name, warning)
    spacing_mm = slice_spacing(scan, config.spacing)
    require_writable(folder)
    require_own(scan, PROFILE, folder, config.overwrite)
    found: dict[str, ProfileEstimate] = {}
    for kind in dict.fromkeys((config.profile.kind, *EXCITED)):
        try:
            found[kind] = profile_of_scan(scan, spacing_mm, replace(config.profile, kind=kind), seeds)
        except ValueError as error:
            if isinstance(error, InputError):
                raise
            if kind == config.profile.kind:
                raise InputError(f"{scan.path.name}: {error} Restore it with a thickness= you know.") from error
            log.info("%s: no width of a %s profile fits (%s)", scan.path.name, kind, error)
    chosen = found[config.profile.kind]
    declared = find_thickness(scan.path, spacing_mm)
    positions = np.linspace(-1, 1, KNOTS) * chosen.profile.half_support_mm
    step = positions[1] - positions[0]
    edges = torch.from_numpy(np.append(positions - step / 2, positions[-1] + step / 2))
    density = chosen.profile.cumulative(edges).diff().numpy() / step
    paths = {name: folder / f"{scan.result(PROFILE)}.{end}" for name, end in (("profile", "npy"), ("figure", "png"))}
    write_atomically(paths["profile"], ".npy", lambda path: np.save(path, np.stack([positions, density], axis=1)))
    write_atomically(paths["figure"], ".png", draw_profile(chosen, found, spacing_mm).savefig)
    paths["json"] = folder / f"{scan.result(PROFILE)}.json"
    report = {
        "scan_sha256": scan.sha256,
        "config": {"scan": config.scan},
        "method": config.method,
        "profile": config.profile.kind,
        "fwhm_mm": chosen.profile.fwhm_mm,
        "interval_mm": [chosen.low_mm, chosen.high_mm],
        "fwhm_of_other_shapes_mm": {k: e.profile.fwhm_mm for k, e in found.items() if k != config.profile.kind},
        "spacing_mm": spacing_mm,
        "declared_mm": declared.thickness_mm,
        "declared_by": declared.source,
        "windows": chosen.windows,
    }
    write_json(paths["json"], report)
    others = ", ".join(f"{k} {e.profile.fwhm_mm:.2f} mm" for k, e in found.items() if k != config.profile.kind)
    log.info(
        "%s: %s profile of FWHM %.2f mm (95 %% interval %.2f to %.2f), slices every %.4g mm; the %s says %.4g mm",
        scan.path.name,
        config.profile.kind,
        chosen.profile.fwhm_mm,
        chosen.low_mm,
        chosen.high_mm,
        spacing_mm,
        declared.source,
        declared.thickness_mm,
    )
    log.info("other shapes that fit: %s; see %s", others or "none", paths["figure"])
    return paths
