"""Every number of an estimate against the truth, in one place and defined once."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage

from focvs.acquisition.grid import make_grid, plane_distance_mm
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.commands.evaluation_inputs import on_grid, open_acquisition, open_lesions, open_perceptual, require_same_head
from focvs.config import EvaluateConfig
from focvs.errors import InputError
from focvs.evaluation import metrics
from focvs.evaluation.lesions import by_size, compare_lesions
from focvs.evaluation.perceptual import describe_slices
from focvs.evaluation.segment_command import open_segmenters, segment_estimate
from focvs.evaluation.uncertainty import rank_correlation
from focvs.reconstruction.forward_model import Acquisition
from focvs.scan.formats import image_stem
from focvs.scan.head import head_mask
from focvs.scan.nifti import axis_along, axis_last, on_same_voxels, read_nifti, read_volume, require_direction
from focvs.scan.scan import Scan
from focvs.scan.units import white_level

log = logging.getLogger(__name__)
SMALLEST = 11  # voxels of the window of SSIM


def measure_estimates(config: EvaluateConfig) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Compare volumes with the truth in its head mask.

    Returns:
        A row for each estimate, and what its numbers mean.

    Raises:
        InputError: for unreadable files, an unknown axis, or an estimate that is of another head than the truth.
    """
    if not config.estimates:
        raise InputError("there is nothing to evaluate; give volumes after the truth.")
    require_direction(config.axis)
    if config.trim < 0:
        raise InputError(f"trim={config.trim:g} mm must be at least 0.")
    truth, affine, header = read_volume(Path(config.truth))
    if min(truth.shape) < SMALLEST:
        raise InputError(f"{config.truth} has {min(truth.shape)} voxels along an axis; SSIM needs {SMALLEST}.")
    reference = nib.Nifti1Image(truth, affine, header)
    acquired = open_acquisition(config)
    direction = config.axis if acquired is None else acquired[0].slice_direction
    axis = axis_along(affine, direction)
    voxel_mm = float(np.linalg.norm(affine[:3, axis]))
    scale = white_level(truth)
    mask = np.moveaxis(head_mask(np.moveaxis(truth, axis, -1), scale), -1, axis)
    ends = np.moveaxis(mask, axis, 0)
    trimmed = round(config.trim / voxel_mm)
    if trimmed:
        ends[:trimmed], ends[-trimmed:] = False, False
    if not mask.any():
        raise InputError(f"nothing of the head is left after trim={config.trim:g} mm at both ends.")
    paths = [Path(name) for name in config.estimates]
    volumes, covered = zip(*(on_grid(path, reference) for path in paths), strict=True)
    everywhere = np.logical_and.reduce([mask, *(where for where in covered if where is not None)])
    if everywhere.sum() < mask.sum():
        lost = 100 * (1 - everywhere.sum() / mask.sum())
        log.warning("%.2g %% of the head is not covered by every estimate and was left out for all.", lost)
    mask = everywhere
    if not mask.any():
        raise InputError("no part of the head is covered by every estimate; are all in the space of the truth?")
    for path, data in zip(paths, volumes, strict=True):
        require_same_head(path, truth, data, mask)
    nyquist = None if acquired is None else 1 / (2 * acquired[1].grid.spacing_mm)
    definitions = {
        "truth": str(config.truth),
        "mask": f"{int(mask.sum())} voxels of head, {trimmed * voxel_mm:g} mm left out at both ends of the slice axis",
        "scale": scale,
        "axis": direction,
        "spectrum": f"power ratio above {'half the highest frequency' if nyquist is None else f'{nyquist:.3g} per mm'}",
    }
    distance = open_perceptual(config)
    if distance is not None:
        definitions["perceptual"] = f"{distance.name} distance, FID and KID of VGG16's last activations, of slices"
    lesions = None if config.lesions is None else open_lesions(config, reference, truth, mask)
    if lesions is not None:
        how = f" from {config.lesions_above:g} times the median, {config.lesions_inside:g} mm inside the head"
        bright = how if config.lesions == "bright" else ""
        definitions["lesions"] = f"{config.lesions}{bright}, {int(lesions.sum())} voxels"
    segmenters = open_segmenters(reference, mask, config.tissues, config.brain, config.segment_command)
    labels = {name: segment(Path(config.truth), truth) for name, segment in segmenters.items()}
    for name, true_labels in labels.items():
        if not true_labels.any():
            raise InputError(f"{name}: the truth has no labels in its head.")
    rows: list[dict[str, Any]] = []
    stems = [image_stem(path) for path in paths]
    for path, stem, data, where in zip(paths, stems, volumes, covered, strict=True):
        rows.append(
            {
                "estimate": stem if stems.count(stem) == 1 else f"{path.parent.name}/{stem}",
                "path": str(path),
                "psnr_db": psnr
                if math.isfinite(psnr := metrics.peak_signal_to_noise(truth, data, mask, scale))
                else None,
                "ssim": metrics.structural_similarity(truth, data, mask, scale),
                "nrmse": metrics.normalised_error(truth, data, mask),
                "mae": metrics.mean_absolute_error(truth, data, mask, scale),
                "hfen": metrics.high_frequency_error(truth, data, mask),
                "gms": metrics.gradient_similarity(truth, data, mask, scale),
                "sharpness": metrics.edge_sharpness(truth, data, mask, axis),
                "spectrum": mean_spectrum_ratio(truth, data, mask, voxel_mm, axis, nyquist),
                "residual": None if acquired is None else cycle_residual(path, *acquired),
                "resampled": where is not None,
            }
        )
        if where is None and (interval := measure_interval(path, data, reference, mask)) is not None:
            rows[-1]["interval"] = interval
        if lesions is not None:
            found = compare_lesions(truth, data, lesions, mask, nib.affines.voxel_sizes(affine))
            rows[-1]["lesions"] = by_size(found)
            rows[-1]["lesions_left_out"] = int(ndimage.label(lesions)[1]) - len(found)
        if segmenters:
            rows[-1]["segmentations"] = segment_estimate(segmenters, labels, path, data)
        if distance is not None:
            try:
                rows[-1]["perceptual"] = describe_slices(distance, truth, data, mask, scale)
            except ValueError as error:
                raise InputError(str(error)) from error
    return rows, definitions


def measure_interval(
    path: Path, estimate: np.ndarray, reference: nib.Nifti1Image, mask: np.ndarray
) -> dict[str, float | None] | None:
    """What the interval of an estimate is worth, where files named as its own and ``-q05``, ``-q95`` lie beside it.

    Returns:
        ``held``, the fraction of the head's voxels whose truth lies in it; ``width``, its mean over the truth's 99.5th
        percentile; ``rank_correlation`` of the width with the absolute error, None where all widths are equal. None
        without such files on the truth's voxels, or where the interval has no width.
    """
    ending = path.name.removeprefix(image_stem(path))
    files = [path.with_name(f"{image_stem(path)}-{name}{ending}") for name in ("q05", "q95")]
    if not all(file.is_file() for file in files):
        return None
    bounds = []
    for file in files:
        data, affine, _, warnings = read_nifti(file)
        for warning in warnings:
            log.warning("%s: %s", file, warning)
        if not on_same_voxels(data, affine, reference):
            return None
        bounds.append(data)
    low, high = bounds
    width = (high - low)[mask]
    if not (width > 0).any():
        return None
    truth = np.asarray(reference.dataobj)
    correlation = rank_correlation(width, (estimate - truth)[mask])
    return {
        "held": float(np.mean((truth >= low)[mask] & (truth <= high)[mask])),
        "width": float(width.mean() / white_level(truth)),
        "rank_correlation": correlation if math.isfinite(correlation) else None,
    }


def mean_spectrum_ratio(
    truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray, voxel_mm: float, axis: int, nyquist: float | None
) -> float | None:
    """Geometric mean of the power ratio above ``nyquist``, or in the upper half; None where columns are too short."""
    try:
        frequency, ratio = metrics.spectrum_ratio(truth, estimate, mask, voxel_mm, axis)
    except ValueError:
        return None
    above = frequency > (frequency[-1] / 2 if nyquist is None else nyquist)
    return float(np.exp(np.log(ratio[above].clip(1e-12)).mean())) if above.any() else None


def cycle_residual(path: Path, scan: Scan, acquisition: Acquisition) -> float | None:
    """Largest deviation of the estimate's own slices from the scan, over the scan's range.

    None where its voxels are not those of the scan in-plane and of its field of view along the slice axis.
    """
    data, affine, _, _ = read_nifti(path)
    volume, affine = axis_last(data - np.float32(scan.background), affine, scan.file_axis)
    voxel_mm = plane_distance_mm(affine)
    grid = make_grid(
        acquisition.grid.slices,
        acquisition.grid.spacing_mm,
        voxel_mm,
        acquisition.profile.half_support_mm,
        keep_extent=False,
    )
    if volume.shape[:2] != scan.data.shape[:2] or volume.shape[2] != grid.voxels:
        return None
    if not np.allclose(grid.affine(scan.affine), affine, atol=0.05 * voxel_mm):
        return None
    operator = ThroughPlaneOperator(acquisition.profile, grid, "edge", scan.missing)
    worst = 0.0
    for row, y in zip(torch.from_numpy(volume.copy()), torch.from_numpy(scan.data), strict=True):
        worst = max(worst, float(operator.residual(row.double(), y).abs().max()))
    return worst / float(np.ptp(scan.data))
