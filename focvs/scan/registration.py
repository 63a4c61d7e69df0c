"""Rigid alignment of two scans of one head (SimpleITK, an extra: ``pip install focvs[stacks]``)."""

from __future__ import annotations

from typing import Any

import numpy as np

from focvs.errors import InputError
from focvs.scan.scan import Scan

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])  # ITK's world from NIfTI's, mm
LEVELS = ((4, 4.0), (2, 2.0), (1, 0.0))  # shrink factor, smoothing in mm
SAMPLED = 0.2  # of the voxels the metric looks at


def register_rigidly(fixed: Scan, moving: Scan) -> np.ndarray:
    """``(4, 4)`` from the world of ``fixed`` to that of ``moving``, mm: where each place of the head went.

    Mean square correlation of intensities (the contrast must be the same), gradient descent on three rotations and
    three translations over three resolutions, begun where the headers say; the same on every run.

    Raises:
        InputError: if SimpleITK is not installed, or the scans do not overlap.
    """
    try:
        import SimpleITK as sitk  # noqa: N813
    except ImportError as error:
        raise InputError(
            "to align several stacks, install SimpleITK (pip install 'focvs[stacks]'), or take their headers' word "
            "with align=headers."
        ) from error
    images = [_to_itk(sitk, scan) for scan in (fixed, moving)]
    start = sitk.Euler3DTransform()
    middle = (np.array(fixed.data.shape) - 1) / 2
    start.SetCenter(((LPS @ fixed.affine) @ [*middle, 1.0])[:3].tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # sums in another order would end elsewhere
    method.SetMetricAsCorrelation()
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED, 1)  # the seed; without one it is the clock
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=1.0, minStep=1e-3, numberOfIterations=200, relaxationFactor=0.6
    )
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([shrink for shrink, _ in LEVELS])
    method.SetSmoothingSigmasPerLevel([smooth for _, smooth in LEVELS])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(start, inPlace=True)
    try:
        method.Execute(*images)
    except RuntimeError as error:
        raise InputError(
            f"{moving.path.name} could not be aligned with {fixed.path.name}; do they show the same head in one space?"
        ) from error
    rotation = np.array(start.GetMatrix()).reshape(3, 3)
    centre = np.array(start.GetCenter())
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = np.array(start.GetTranslation()) + centre - rotation @ centre
    return LPS @ matrix @ LPS


def _to_itk(sitk: Any, scan: Scan) -> Any:
    """The scan as an ITK image; where its axes are not orthogonal, the nearest that are."""
    affine = LPS @ scan.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    left, _, right = np.linalg.svd(affine[:3, :3] / spacing)
    image = sitk.GetImageFromArray(np.ascontiguousarray(scan.data.T))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection((left @ right).ravel().tolist())
    return image
