"""focvs reproduce RESULT.json: the recorded run once more, and whether it gives the same voxels."""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from focvs import __version__
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.run_config import RunConfig
from focvs.scan.nifti import read_nifti, voxels_sha256
from focvs.scan.units import white_level

log = logging.getLogger(__name__)
# largest difference, as a share of the white level, between processors that add in another order: networks in bfloat16
# differ by about 0.002 from float32, and a head spans 1
TOLERANCE = 0.01


def reproduce(path: Path, scan: str | None = None, device: str | None = None) -> bool:
    """Run what a JSON recorded, into a temporary folder, and compare.

    Args:
        path: the JSON of a result; the images beside it are compared with where they are there.
        scan: where the scan is now, if not where it was.
        device: to compute on instead.

    Returns:
        Whether all images are the same to the bit, or the mean within :data:`TOLERANCE` of the white level.

    Raises:
        InputError: for a JSON that is none of ours, or has no hashes; a scan that is another one; and as
            :func:`focvs.pipeline.super_resolve`.
    """
    recorded = _read(path)
    config = _config_of(recorded, path)
    if recorded["version"] != __version__:
        log.warning("%s was made by focvs %s, and this is %s", path, recorded["version"], __version__)
    with tempfile.TemporaryDirectory(prefix="focvs-") as name:
        config = replace(config, output_dir=name, progress=False, figure=False, report=False, log="text")
        config = replace(config, scan=scan or config.scan, device=device or config.device)
        if not Path(config.scan).exists():
            raise InputError(f"{config.scan}, the scan of {path.name}, is not there; give scan= its place now.")
        chosen = (recorded.get("precision") or {}).get("name")
        if chosen and config.precision == "auto":
            config = replace(config, precision=chosen)  # what a probe found then
        paths = super_resolve(config)
        found = json.loads(paths["json"].read_text(encoding="utf-8"))
        then, now = _inputs(recorded), _inputs(found)
        for what, (place, digest) in now.items():
            if then.get(what, ("", None))[1] not in (digest, None):
                raise InputError(f"{place} is not the {what} of {path.name}: its voxels or its place have changed.")
        if (found["prior"] or {}).get("sha256") != (recorded["prior"] or {}).get("sha256"):
            log.warning("the weights of prior=%s are not those that were used then", config.prior.name)
        return _compare(path, recorded["voxels_sha256"], found["voxels_sha256"], paths)


def _inputs(report: dict[str, Any]) -> dict[str, tuple[str, str | None]]:
    """Everything that went into a run, by what it was: its place, and its hash where there is one."""
    found = {"scan": (report["config"]["scan"], report["scan_sha256"])}
    for number, stack in enumerate(report.get("stacks") or (), start=1):
        found[f"further stack {number}"] = (stack["scan"], stack.get("scan_sha256"))
    if guide := report.get("guide"):
        found["guide"] = (guide["image"], guide.get("image_sha256"))
    return found


def _compare(path: Path, then: dict[str, str], now: dict[str, str], paths: dict[str, Path]) -> bool:
    """Say of each image whether it is the same."""
    differ = [name for name in then if now.get(name) != then[name]]
    stem = path.name.removesuffix(".json")
    for name in then:
        beside = path.with_name(f"{stem}.nii.gz" if name == "mean" else f"{stem}-{name}.nii.gz")
        state = "differs" if name in differ else "the same to the bit"
        if beside.is_file() and voxels_sha256(beside) != then[name]:
            state += "; the file beside the JSON is not the one that was written then"
        log.info("%-10s %s", name, state)
    if not differ:
        return True
    there = path.with_name(f"{stem}.nii.gz")
    if "mean" not in differ or not there.is_file() or voxels_sha256(there) != then["mean"]:
        return False
    before, after = (read_nifti(file)[0] for file in (there, paths["mean"]))
    if before.shape != after.shape:
        log.info("the mean has %s voxels and had %s", after.shape, before.shape)
        return False
    share = float(np.abs(before - after).max()) / white_level(before)
    log.info("the mean differs by at most %.2g of the white level (up to %g is let through)", share, TOLERANCE)
    return share <= TOLERANCE


def _read(path: Path) -> dict[str, Any]:
    try:
        recorded = json.loads(path.read_text(encoding="utf-8"))
        for key in ("version", "config", "scan_sha256", "prior"):
            recorded[key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no JSON of a result; give NAME_focvs.json of a folder of results.") from error
    if not recorded.get("voxels_sha256"):
        raise InputError(f"{path} was made by focvs {recorded['version']}, which recorded no hashes of its results.")
    return recorded


def _config_of(recorded: dict[str, Any], path: Path) -> RunConfig:
    try:
        merged = OmegaConf.merge(OmegaConf.structured(RunConfig), recorded["config"])
        config = OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        raise InputError(
            f"the settings in {path} are not those of this version ({str(error).splitlines()[0]}); install focvs "
            f"{recorded['version']}."
        ) from error
    assert isinstance(config, RunConfig)
    return config
