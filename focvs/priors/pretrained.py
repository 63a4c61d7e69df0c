"""Priors on disk: our diffusers folders (config.json, safetensors, calibration.safetensors) and other people's."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from focvs.errors import PriorError, first_line
from focvs.priors.bundles import monai_denoiser
from focvs.priors.error_table import CALIBRATION, ErrorTable
from focvs.priors.foreign import (
    AUTO,
    MEDFORJ_SHAPE,
    MEDFORJ_VOXEL_MM,
    diffusers_denoiser,
    medforj_denoiser,
)
from focvs.priors.intervals import IntervalTable
from focvs.priors.own import DEVIATION, GUIDED, RESIDUAL, STAGE, load_own
from focvs.priors.prior import Inference, Prior
from focvs.priors.volumetric import Padded
from focvs.priors.weights import WEIGHTS, WEIGHTS_STEM, sha256_of

log = logging.getLogger(__name__)

INTERVALS = "intervals.json"
T = TypeVar("T")


KINDS = ("focvs", "diffusers", "medforj", "monai")


def load_prior(path: str | Path, device: str = "cpu", kind: str = "focvs", prediction: str = AUTO) -> Prior:
    """Load a prior: its weights once per process and device, the tables beside them as they now are.

    Args:
        path: of ``focvs``, a folder with ``config.json`` and ``diffusion_pytorch_model.safetensors``; of others see
            :mod:`focvs.priors.foreign`. Nothing is unpickled.
        device: torch device.
        kind: one of :data:`KINDS`.
        prediction: what a foreign network predicts, or ``auto`` for what its configuration says.

    Raises:
        PriorError: if the kind is unknown, or a file is missing, truncated, or not such a network.
    """
    prior = _load_weights(path, device, kind, prediction, _written_at(Path(path)))
    return replace(
        prior,
        errors=_stored(prior, CALIBRATION, ErrorTable.load),
        intervals=_stored(prior, INTERVALS, IntervalTable.load),
    )


def _written_at(path: Path) -> tuple[int, ...]:
    """When the files of a prior were last written: weights that changed are not those in the cache."""
    inside = STAGE.format(2), STAGE.format(3), GUIDED, f"{GUIDED}/{DEVIATION}", DEVIATION, RESIDUAL
    parts = [path, *(path / name for name in inside)]
    files = [path] if path.is_file() else [part / name for part in parts for name in (WEIGHTS, "config.json")]
    return tuple(file.stat().st_mtime_ns for file in files if file.is_file())


@lru_cache(maxsize=4)
def _load_weights(path: str | Path, device: str, kind: str, prediction: str, written: tuple[int, ...]) -> Prior:
    if kind == "focvs":
        prior = load_own(Path(path), device)
    elif kind == "diffusers":
        denoiser, multiple, weights = diffusers_denoiser(path, prediction)
        prior = Prior(Padded(Inference(denoiser, device), multiple), None, sha256_of(weights), weights)
    elif kind == "medforj":
        denoiser, weights = medforj_denoiser(Path(path), prediction)
        prior = Prior(
            Inference(denoiser, device),
            None,
            sha256_of(weights),
            weights,
            dimensions=3,
            scaling="maximum",
            axes="LPS",
            shape=MEDFORJ_SHAPE,
            voxel_range_mm=MEDFORJ_VOXEL_MM,
        )
    elif kind == "monai":
        denoiser, dimensions, multiple, weights = monai_denoiser(Path(path), prediction)
        ready: Inference | Padded = Inference(denoiser, device)
        if dimensions == 2:
            ready = Padded(ready, multiple)
        prior = Prior(ready, None, sha256_of(weights), weights, dimensions=dimensions, multiple=multiple)
    else:
        raise PriorError(f"prior.kind={kind} is not known; choose one of {', '.join(KINDS)}.")
    log.info("loaded prior %s on %s", path, device)
    return prior


def _stored(prior: Prior, name: str, load: Callable[[Path], T]) -> T | None:
    """A table of a prior, or None where it has none.

    Raises:
        PriorError: if it is broken.
    """
    path = beside(prior, name)
    if not path.is_file():
        return None
    try:
        return load(path)
    except Exception as error:  # safetensors raises its own kinds for a broken file
        raise PriorError(f"{path} could not be read ({first_line(error)}); delete it or measure it again.") from error


def beside(prior: Prior, name: str) -> Path:
    """Where a table of a prior is: beside its weights, under their name where they are one file of many."""
    if prior.path.stem == WEIGHTS_STEM:
        return prior.path.parent / name
    return prior.path.with_suffix("." + name)
