"""A guide: another contrast of the head in the scan, sharp where the scan is not, brought to its voxels."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from focvs.acquisition.guided_filter import AIR
from focvs.errors import InputError
from focvs.evaluation.similarity import mutual_information
from focvs.reconstruction.stacks import spaced
from focvs.run_config import RunConfig
from focvs.scan.dicom import open_series
from focvs.scan.isotropic import FWHM
from focvs.scan.nifti import read_nifti
from focvs.scan.registration import COARSE, register_rigidly, turn_deg
from focvs.scan.scan import Scan
from focvs.scan.units import IntensityUnits, white_level

log = logging.getLogger(__name__)

LEAST_OVERLAP = 0.5  # of the head in the scan, that a guide must show
# by how much more a guide tells of a scan than its mirror image does: 1.47 to 1.75 in five pairs of one head, 0.94 to
# 1.03 in five of two heads (scripts/guide_likeness.py)
LEAST_LIKENESS = 1.15
CERTAIN = 0.8  # nats, told by a guide whose head may be symmetric: more than by any of two real heads
THICK_MM = 2.0  # voxels of a guide from which on it says little


@dataclass(frozen=True, eq=False)
class Guide:
    """Another contrast of the head in a scan.

    Attributes:
        path: the file.
        data: ``(i, j, k)`` float32, its intensities.
        affine: ``(4, 4)`` voxel-to-world as its header says, mm.
        moved: ``(4, 4)`` from the world of the scan to its own.
        information: mutual information of the two within the head, nats.
        likeness: that, over the mutual information with its own mirror image; None where it was not measured.
        overlap: share of the head in the scan that it shows.
        warnings: a sentence each.
    """

    path: Path
    data: np.ndarray
    affine: np.ndarray
    moved: np.ndarray
    information: float = 0.0
    likeness: float | None = None
    overlap: float = 1.0
    warnings: tuple[str, ...] = ()

    @cached_property
    def white(self) -> float:
        """Its white level."""
        return white_level(self.data)

    @cached_property
    def sha256(self) -> str:
        """Of its intensities and its place as they were read, whatever the file is called."""
        return _sha256(self.data, self.affine)

    @property
    def voxel_mm(self) -> tuple[float, float, float]:
        """Its voxel sizes."""
        first, second, third = (float(v) for v in np.linalg.norm(self.affine[:3, :3], axis=0))
        return first, second, third

    @property
    def rotation_deg(self) -> float:
        """How far it is turned against where its header says."""
        return turn_deg(self.moved)

    @property
    def translation_mm(self) -> np.ndarray:
        """``(3,)`` how far its middle is from where its header says."""
        middle = self.affine[:3, :3] @ ((np.array(self.data.shape) - 1) / 2) + self.affine[:3, 3]
        return np.asarray(middle - (np.linalg.inv(self.moved) @ [*middle, 1.0])[:3])

    def on(self, shape: Sequence[int], affine: np.ndarray) -> Tensor:
        """``(p, q, n)`` on the voxels of ``affine`` in the world of the scan, prior units; :data:`AIR` beyond its edge.

        As :meth:`intensities_on`.
        """
        intensities = self.intensities_on(shape, affine)
        inside = np.isfinite(intensities)
        told = IntensityUnits(self.white).to_prior(torch.from_numpy(np.where(inside, intensities, 0)))
        return torch.where(torch.from_numpy(inside), told, torch.full_like(told, AIR))

    def intensities_on(self, shape: Sequence[int], affine: np.ndarray) -> np.ndarray:
        """``(p, q, n)`` float32 on the voxels of ``affine`` in the world of the scan; NaN beyond its edge.

        Cubic B-splines; where its own voxels are finer it is blurred to the size of the new ones first.
        """
        return _resampled(self.data, self.affine, self.moved, shape, affine, order=3)


def sha256_of_image(path: Path) -> str:
    """:attr:`Guide.sha256` of an image file.

    Raises:
        InputError: if it cannot be read.
    """
    data, affine, *_ = read_nifti(path)
    return _sha256(data, affine)


def _sha256(data: np.ndarray, affine: np.ndarray) -> str:
    digest = hashlib.sha256(np.round(affine, 4).tobytes())
    digest.update(np.ascontiguousarray(data).tobytes())
    return digest.hexdigest()


def open_guide(config: RunConfig, scan: Scan, spacing_mm: float, converted: list[Path] | None = None) -> Guide | None:
    """Read and align the guide of a run; None where there is none.

    Args:
        config: ``guide``, an image or a folder of DICOM files, and ``align``; ``output_dir`` gets the NIfTI of DICOM
            files in its folder ``guide``.
        scan: on its working pixels.
        spacing_mm: of its slices.
        converted: gets the files that DICOM files left there.

    Raises:
        InputError: for a file that cannot be read, that does not overlap the scan, or that shows another head.
    """
    if config.guide is None:
        return None
    path = Path(config.guide)
    if path.is_dir():
        place = Path(config.output_dir) / "guide" if config.output_dir else None
        _, path, left, warnings = open_series(path, place, read_nifti, overwrite=config.overwrite)
        for warning in warnings:
            log.warning("%s: %s", config.guide, warning)
        if converted is not None:
            converted += left
    return align_guide(path, spaced(scan, spacing_mm), rigid=config.align == "rigid")


def align_guide(path: Path, fixed: Scan, *, rigid: bool) -> Guide:
    """Read a guide and align it to a scan, or take the word of its header.

    Raises:
        InputError: as :func:`open_guide`.
    """
    data, affine, _, warnings = read_nifti(path)
    if np.ptp(data) == 0:
        raise InputError(f"{path} is constant ({data.flat[0]:g} everywhere): a guide shows the head in the scan.")
    guide = Guide(path, data, affine, np.eye(4), warnings=tuple(f"{path.name}: {w}" for w in warnings))
    if rigid:
        guide = replace(guide, moved=register_rigidly(fixed, guide, other_contrast=True))
    guide = _compared(guide, fixed, rigid=rigid)
    if max(guide.voxel_mm) >= THICK_MM:
        sizes = " x ".join(f"{v:.3g}" for v in guide.voxel_mm)
        warning = f"{path.name} has voxels of {sizes} mm; a guide helps where its voxels are small in all directions."
        guide = replace(guide, warnings=(*guide.warnings, warning))
    log.info(
        "guide %s: aligned by %.2g degrees and %.2g mm, it shows %.0f %% of the head and tells %.2f nats of it%s",
        path.name,
        guide.rotation_deg,
        np.linalg.norm(guide.translation_mm),
        100 * guide.overlap,
        guide.information,
        "" if guide.likeness is None else f", {guide.likeness:.2f} times as much as its mirror image does",
    )
    return guide


def _compared(guide: Guide, scan: Scan, *, rigid: bool) -> Guide:
    """The guide with what it tells of the scan, which must be more than its mirror image does.

    Another head, aligned, is about as much like the scan as the mirror image of that other head is: both show skull,
    brain and ventricles where they are in everyone. The same head has its own folds, and is more like it by half.

    Raises:
        InputError: if it shows too little of the head, or another head.
    """
    names = f"{guide.path.name} and {scan.path.name}"
    overlap, information = _told(guide, scan)
    if overlap < LEAST_OVERLAP:
        raise InputError(
            f"{names}: the guide shows {100 * overlap:.0f} % of the head in the scan, and {100 * LEAST_OVERLAP:.0f} % "
            "are needed; do both show one head in one space?"
        )
    mirror = replace(guide, data=np.flip(guide.data, _left_right(guide.affine)).copy())
    start = _mirrored(guide)
    mirror = replace(mirror, moved=start)
    if rigid:
        mirror = replace(mirror, moved=register_rigidly(scan, mirror, other_contrast=True, start=start, levels=COARSE))
    likeness = information / max(_told(mirror, scan)[1], 1e-6)
    if likeness < LEAST_LIKENESS and information < CERTAIN:
        raise InputError(
            f"{names}: the guide is hardly more like the scan than its own mirror image is ({likeness:.2f} times, and "
            f"{LEAST_LIKENESS:g} are needed); give a guide of the same head, and align=rigid unless both are aligned "
            "already."
        )
    return replace(guide, information=information, likeness=likeness, overlap=overlap)


def _told(guide: Guide, scan: Scan) -> tuple[float, float]:
    """Share of the head that a guide shows, and its mutual information with the scan there, nats."""
    image = _resampled(guide.data, guide.affine, guide.moved, scan.data.shape, scan.affine, order=1)
    shown = scan.head & np.isfinite(image)
    share = float(shown.sum() / max(scan.head.sum(), 1))
    return share, mutual_information(scan.data[shown], image[shown]) if shown.any() else 0.0


def _left_right(affine: np.ndarray) -> int:
    """The array axis that runs most from left to right."""
    return next(i for i, code in enumerate(nib.aff2axcodes(affine)) if code in "LR")


def _mirrored(guide: Guide) -> np.ndarray:
    """Where a mirror image of the guide's voxels lies if its head is to stay where it was: ``moved`` of it."""
    axis = _left_right(guide.affine)
    places = np.argwhere(guide.data > 0.2 * guide.white)
    middle = places[:, axis].mean() if len(places) else (guide.data.shape[axis] - 1) / 2
    shift = np.eye(4)
    shift[:3, 3] = guide.affine[:3, axis] * (guide.data.shape[axis] - 1 - 2 * middle)
    return shift @ guide.moved


def _resampled(
    data: np.ndarray, own: np.ndarray, moved: np.ndarray, shape: Sequence[int], affine: np.ndarray, order: int
) -> np.ndarray:
    """``data`` on other voxels, blurred to their size if they are larger; NaN beyond its edge."""
    to_index = np.linalg.inv(own) @ moved @ affine
    sizes = np.linalg.norm(own[:3, :3], axis=0)
    directions = np.abs(to_index[:3, :3]) * sizes[:, None]  # mm along each axis of the guide for a step of each new one
    widths = np.sqrt(np.maximum((directions.max(1) / sizes) ** 2 - 1, 0)) / FWHM
    smooth = ndimage.gaussian_filter(data.astype(np.float32), widths, mode="nearest") if widths.any() else data
    matrix, offset = to_index[:3, :3], to_index[:3, 3]
    image = ndimage.affine_transform(smooth, matrix, offset, tuple(shape), order=order, mode="nearest")
    beyond = np.zeros(shape, dtype=bool)
    index = [np.arange(n, dtype=np.float32) for n in shape]
    for axis, size in enumerate(data.shape):
        row = matrix[axis]
        place = (row[0] * index[0])[:, None, None] + (row[1] * index[1])[:, None] + row[2] * index[2] + offset[axis]
        beyond |= (place < -0.501) | (place > size - 0.499)
    image = image.astype(np.float32)
    image[beyond] = np.nan
    return image
