"""What estimates are judged by: acquisition, lesions and networks, and the estimates on the voxels of the truth."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.processing import resample_from_to

from focvs.commands.overrides import compose, quote
from focvs.config import EvaluateConfig
from focvs.errors import InputError
from focvs.evaluation import metrics
from focvs.evaluation.lesions import find_lesions
from focvs.evaluation.perceptual import PerceptualDistance
from focvs.evaluation.segment_command import open_mask
from focvs.reconstruction.forward_model import Acquisition, model_acquisition
from focvs.run_config import RunConfig
from focvs.scan.nifti import (
    SAME_MM,
    on_same_voxels,
    read_volume,
)
from focvs.scan.preparation import prepare_scan
from focvs.scan.scan import Scan

log = logging.getLogger(__name__)

LEAST_LIKENESS = 0.2  # of detail: different heads have 0.04 to 0.13, the spline through 12 mm slices has 0.5


def require_same_head(path: Path, truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray) -> None:
    """Refuse an estimate of another head, or of one that lies elsewhere: numbers about it would mean nothing.

    Raises:
        InputError: if its detail hardly goes with that of the truth.
    """
    likeness = metrics.detail_correlation(truth, estimate, mask)
    if likeness < LEAST_LIKENESS:
        raise InputError(
            f"{path} does not show the head of the truth, or shows it elsewhere: the correlation of their detail is "
            f"{likeness:.2f}, of {LEAST_LIKENESS:g} needed; give volumes of one head in one space."
        )


def open_perceptual(config: EvaluateConfig) -> PerceptualDistance | None:
    """The network asked for by ``vgg`` and ``lpips``.

    Raises:
        InputError: for weights that do not fit, or ``lpips`` without ``vgg``.
    """
    if config.vgg is None:
        if config.lpips is not None:
            raise InputError("lpips= weighs the channels of VGG16; give its weights with vgg= as well.")
        return None
    return PerceptualDistance(Path(config.vgg), None if config.lpips is None else Path(config.lpips))


def open_lesions(config: EvaluateConfig, reference: nib.Nifti1Image, truth: np.ndarray, head: np.ndarray) -> np.ndarray:
    """A lesion mask on the truth's voxels: a file, or ``bright`` for what is bright inside the head.

    Raises:
        InputError: for an unreadable mask, one on other voxels, or one without lesions in the head.
    """
    assert config.lesions is not None
    if config.lesions == "bright":
        if config.lesions_above <= 1:
            raise InputError(
                f"lesions_above={config.lesions_above:g} must be above 1: lesions are brighter than the head."
            )
        if config.lesions_inside < 0:
            raise InputError(f"lesions_inside={config.lesions_inside:g} must be 0 mm or more.")
        voxel_mm = nib.affines.voxel_sizes(reference.affine)
        mask = find_lesions(truth, head, voxel_mm, config.lesions_above, config.lesions_inside)
    else:
        mask = open_mask(config.lesions, reference)
    if not (mask & head).any():
        raise InputError(f"lesions={config.lesions}: there are none in the head of the truth.")
    return mask & head


def open_acquisition(config: EvaluateConfig) -> tuple[Scan, Acquisition] | None:
    """The scan the estimates were made from and its forward model, where it is given.

    Raises:
        InputError: as :func:`prepare_scan` and :func:`model_acquisition`.
    """
    if config.scan is None:
        return None
    words = [f"scan={quote(config.scan)}"]
    words += [f"{key}={value}" for key in ("thickness", "spacing") if (value := getattr(config, key)) is not None]
    from omegaconf import OmegaConf

    run = OmegaConf.to_object(compose("config", words))
    assert isinstance(run, RunConfig)
    scan = prepare_scan(Path(config.scan), None, config.slice_gains, config.exclude)
    for warning in scan.warnings:
        log.warning("%s: %s", scan.path.name, warning)
    return scan, model_acquisition(scan, replace(run, profile=config.profile))


def on_grid(path: Path, reference: nib.Nifti1Image) -> tuple[np.ndarray, np.ndarray | None]:
    """An estimate on the voxels of the truth, by cubic spline where its own are others, and then where it reaches.

    Raises:
        InputError: if it does not overlap the truth.
    """
    data, affine, header = read_volume(path)
    if on_same_voxels(data, affine, reference):
        return data, None
    moved = resample_from_to(nib.Nifti1Image(data, affine, header), reference, order=3, mode="nearest")
    indices = np.stack(np.meshgrid(*map(np.arange, reference.shape), indexing="ij"), -1)
    places = nib.affines.apply_affine(np.linalg.inv(affine) @ reference.affine, indices)
    reached = ((places > -0.5 - SAME_MM) & (places < np.array(data.shape) - 0.5 + SAME_MM)).all(-1)
    if not reached.any():
        raise InputError(f"{path} does not overlap the truth; are both in the same space?")
    return np.asarray(moved.dataobj, dtype=np.float32), reached
