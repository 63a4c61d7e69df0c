"""Rigid alignment of two scans of one head (SimpleITK, an extra: ``pip install focvs[stacks]``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from focvs.errors import InputError

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's world from NIfTI's, mm
Levels: TypeAlias = tuple[tuple[int, float], ...]
LEVELS: Levels = ((4, 4.0), (2, 2.0), (1, 0.0))  # shrink factor, smoothing in mm
COARSE = LEVELS[:2]
SAMPLED = 0.2  # of the voxels the metric looks at
HISTOGRAM = 32  # bins of each intensity, of mutual information


class Placed(Protocol):
    """What can be registered: intensities ``(i, j, k)``, a ``(4, 4)`` voxel-to-world in mm, and a file to name."""

    @property
    def path(self) -> Path: ...

    @property
    def data(self) -> np.ndarray: ...

    @property
    def affine(self) -> np.ndarray: ...


def turn_deg(moved: np.ndarray) -> float:
    """The angle of a rotation, the first three rows and columns of ``(4, 4)``, degrees from 0 to 180."""
    turn = np.asarray(moved[:3, :3], dtype=float)
    off = np.linalg.norm(turn - np.eye(3)) / np.sqrt(8)  # the sine of half of it
    return float(np.rad2deg(2 * np.arcsin(min(1.0, off))))


def register_rigidly(
    fixed: Placed,
    moving: Placed,
    *,
    other_contrast: bool = False,
    start: np.ndarray | None = None,
    levels: Levels = LEVELS,
) -> np.ndarray:
    """``(4, 4)`` from the world of ``fixed`` to that of ``moving``, mm: where each place of the head went.

    Gradient descent on three rotations and three translations over three resolutions, begun where the headers say; the
    same on every run. Of one contrast the metric is the mean square correlation of intensities; of two it is their
    mutual information (Mattes et al. 2003, IEEE TMI 22:120).

    Args:
        fixed: stays.
        moving: the image that is looked for.
        other_contrast: whether it has another contrast.
        start: ``(4, 4)`` from the world of ``fixed`` to that of ``moving`` to begin with; None where the headers say.
        levels: shrink factor and smoothing in mm of each resolution.

    Raises:
        InputError: if SimpleITK is not installed, or the scans do not overlap.
    """
    try:
        import SimpleITK as sitk  # noqa: N813
    except ImportError as error:
        raise InputError(
            "to align several scans, install SimpleITK (pip install 'focvs[stacks]'), or take their headers' word "
            "with align=headers."
        ) from error
    images = [_to_itk(sitk, scan) for scan in (fixed, moving)]
    transform = sitk.Euler3DTransform()
    middle = (np.array(fixed.data.shape) - 1) / 2
    centre = ((LPS @ fixed.affine) @ [*middle, 1.0])[:3]
    transform.SetCenter(centre.tolist())
    if start is not None:
        begun = LPS @ start @ LPS
        transform.SetMatrix(begun[:3, :3].ravel().tolist())
        transform.SetTranslation((begun[:3, 3] + begun[:3, :3] @ centre - centre).tolist())
    method = sitk.ImageRegistrationMethod()
    if other_contrast:
        method.SetMetricAsMattesMutualInformation(HISTOGRAM)
    else:
        method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED, 1)  # the seed; without one it is the clock
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=200, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([shrink for shrink, _ in levels])
    method.SetSmoothingSigmasPerLevel([smooth for _, smooth in levels])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, inPlace=True)
    try:
        with _one_thread(sitk):
            method.Execute(*images)
    except RuntimeError as error:
        raise InputError(
            f"{moving.path.name} could not be aligned with {fixed.path.name}; do they show the same head in one space?"
        ) from error
    rotation = np.array(transform.GetMatrix()).reshape(3, 3)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = np.array(transform.GetTranslation()) + centre - rotation @ centre
    return LPS @ matrix @ LPS


@contextmanager
def _one_thread(sitk: Any) -> Iterator[None]:
    """ITK on one core: sums in another order would end elsewhere. Mutual information heeds the global number alone."""
    process = sitk.ProcessObject
    threads = process.GetGlobalDefaultNumberOfThreads()
    process.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        process.SetGlobalDefaultNumberOfThreads(threads)


def _to_itk(sitk: Any, scan: Placed) -> Any:
    """The scan as an ITK image; where its axes are not orthogonal, the nearest that are."""
    affine = LPS @ scan.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    image = sitk.GetImageFromArray(np.ascontiguousarray(scan.data.T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((left @ right).ravel().tolist())
    return image
