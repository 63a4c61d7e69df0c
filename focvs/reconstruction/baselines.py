"""Other ways from slices to voxels, on the forward model FOCVS uses: what a prior has to beat.

Every method takes a :class:`Problem` and returns the volume ``(p, q, n)`` in the units of its slices.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from focvs.acquisition.guided_filter import guided_detail
from focvs.acquisition.interpolation import OVERLAP_CONDITION, interpolation_matrix, spline_matrix
from focvs.reconstruction.forward_model import Acquisition
from focvs.reconstruction.guide import Guide
from focvs.reconstruction.implicit import implicit_representation
from focvs.reconstruction.problem import Problem
from focvs.reconstruction.restoration import NO_SAMPLES, Restoration
from focvs.reconstruction.self_super_resolution import self_super_resolution
from focvs.reconstruction.voxels import blank_voxels, hold, volume_affine
from focvs.run_config import RunConfig
from focvs.scan.scan import Scan
from focvs.scan.slices import Slices

CHAMBOLLE = 10  # iterations of each proximal step
WINDOW_MM = 9.0  # edge of the neighbourhood in which a scan is a linear function of its guide


def nearest(problem: Problem) -> Tensor:
    """The slice nearest to each voxel."""
    grid = problem.operator.grid
    return problem.y[..., grid.crop(grid.nearest_slices)]


def linear(problem: Problem) -> Tensor:
    """Linear between slice centres, the outermost slices continued."""
    last = problem.y.shape[-1] - 1
    grid = problem.operator.grid
    place = grid.crop(grid.voxel_places).clamp(0, last)
    below = place.floor().long().clamp(max=max(0, last - 1))
    share = (place - below).to(problem.y)
    return problem.y[..., below] * (1 - share) + problem.y[..., (below + 1).clamp(max=last)] * share


def spline(problem: Problem) -> Tensor:
    """Cubic B-spline with the same field of view."""
    return problem.y @ spline_matrix(problem.operator.grid, margins=False).to(problem.y).T


def replaced(problem: Problem) -> Tensor:
    """Cubic B-spline and one exact replacement (unless slices overlap)."""
    return problem.interpolated


def pseudo_inverse(problem: Problem) -> Tensor:
    """A^+ y: of all volumes that reproduce the scan the smallest."""
    return problem.operator.pseudo_inverse(problem.y)


def total_variation(problem: Problem) -> Tensor:
    """argmin 1/2 |A x - y|^2 + w TV(x), isotropic and three-dimensional.

    FISTA (Beck and Teboulle 2009, section 4) from the replaced spline; the proximal step is scikit-image's (Chambolle
    2004).
    """
    from skimage.restoration import denoise_tv_chambolle  # takes most of a second

    step = 1 / float(problem.operator.svd[1][0]) ** 2
    x = momentum = replaced(problem)
    pace = 1.0
    for _ in range(problem.iterations):
        gradient = problem.operator.adjoint(problem.operator(momentum) - problem.y)
        moved = (momentum - step * gradient).numpy()
        smooth = denoise_tv_chambolle(moved, weight=step * problem.tv_weight, max_num_iter=CHAMBOLLE)
        following = torch.from_numpy(smooth).to(x)
        faster = (1 + math.sqrt(1 + 4 * pace**2)) / 2
        momentum = following + (pace - 1) / faster * (following - x)
        x, pace = following, faster
    return x


def guided_filter(problem: Problem) -> Tensor:
    """The replaced spline and what the guide has between slices (:func:`guided_detail`), the scan replaced once more.

    Raises:
        ValueError: without a guide.
    """
    if problem.guide is None:
        raise ValueError("a guided filter needs a guide.")
    start, guide = problem.interpolated, problem.guide.to(problem.y)
    seen = problem.operator(guide) @ interpolation_matrix(problem.operator).to(start).T
    window = [
        max(3, 2 * round(WINDOW_MM / 2 / mm) + 1) for mm in (*problem.in_plane_mm, problem.operator.grid.voxel_mm)
    ]
    detail = guided_detail(2 * start, 2 * guide, 2 * seen, window) / 2  # prior units are twice as fine
    return problem.operator.replace(start + detail, problem.y)


GUIDED = "guided_filter"
METHODS: dict[str, Callable[[Problem], Tensor]] = {
    "nearest": nearest,
    "linear": linear,
    "spline": spline,
    "replaced": replaced,
    "pseudo_inverse": pseudo_inverse,
    "total_variation": total_variation,
    "self_super_resolution": self_super_resolution,
    "implicit_representation": implicit_representation,
    GUIDED: guided_filter,
}
EXACT = ("replaced", "pseudo_inverse", GUIDED)  # reproduce the scan, unless slices overlap


def restore_without_prior(
    scan: Scan, slices: Slices, acquisition: Acquisition, config: RunConfig, guide: Guide | None = None
) -> Restoration:
    """One of :data:`METHODS` on the whole scan; no uncertainty."""
    shape = (*scan.data.shape[:2], acquisition.grid.voxels)
    data, white, numbers = torch.from_numpy(scan.data), scan.units.white, config.baseline
    problem = Problem(
        data / white,
        acquisition.written,
        torch.from_numpy(scan.head),
        numbers.tv_weight,
        numbers.tv_iterations,
        numbers.training_steps,
        config.seed,
        None if guide is None else guide.on(shape, volume_affine(scan, acquisition)),
        scan.in_plane_mm,
    )
    mean = (METHODS[config.method](problem) * white).float()
    mean[blank_voxels(data, acquisition.grid)] = 0
    exact = acquisition.written.condition_number <= OVERLAP_CONDITION and config.method in EXACT
    if exact:
        hold(mean, scan, acquisition)
    return Restoration(
        mean=mean.numpy(),
        samples=NO_SAMPLES,
        rule=config.method,
        exact=exact,
        noise_intensity=slices.noise_intensity,
        misfit=None,
        warnings=(*scan.warnings, *acquisition.thickness.warnings),
    )
