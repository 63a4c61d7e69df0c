"""Further stacks of one head: read, aligned with the first, brought to its brightness."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.interpolation import OVERLAP_CONDITION, spline_matrix
from focvs.acquisition.stack_operator import StackOperator
from focvs.config import parse_auto
from focvs.errors import InputError
from focvs.reconstruction.forward_model import Acquisition, model_acquisition, thickness_of
from focvs.reconstruction.voxels import volume_affine
from focvs.run_config import RunConfig
from focvs.scan.pixels import ROUNDING, PixelGrid, coarsen, noise_factor
from focvs.scan.preparation import prepare_scan
from focvs.scan.registration import register_rigidly, turn_deg
from focvs.scan.scan import Scan
from focvs.scan.slices import take_slices

log = logging.getLogger(__name__)
LEAST_CORRELATION = 0.6  # with the first scan, below which a stack is another contrast or another head


@dataclass(frozen=True, eq=False)
class Stack:
    """A further scan of the same head.

    Attributes:
        scan: on pixels of about the voxels of the first.
        acquisition: its own forward model.
        affine: ``(4, 4)`` of its slices in the world of the first scan, slice axis last, mm.
        fine: steps a pixel is averaged from.
        moved: ``(4, 4)`` from the world of the first scan to its own.
        gain: its intensities times this are those of the first.
        correlation: of its slices with those the interpolated first scan makes.
        noise_intensity: standard deviation of its noise, in its own intensities.
    """

    scan: Scan
    acquisition: Acquisition
    affine: np.ndarray
    fine: tuple[int, int]
    moved: np.ndarray
    gain: float = 1.0
    correlation: float = 1.0
    noise_intensity: float = 0.0

    def operator(self, shape: Sequence[int], affine: np.ndarray) -> StackOperator:
        """What it makes of a volume of ``shape`` at ``affine``."""
        p, q, n = shape
        pixels = (self.scan.data.shape[0], self.scan.data.shape[1])
        return StackOperator((p, q, n), affine, self.acquisition.sampled, pixels, self.affine, self.fine)

    @property
    def overlapping(self) -> bool:
        """Whether exact replacement would amplify its noise."""
        return self.acquisition.written.condition_number > OVERLAP_CONDITION

    @property
    def slices(self) -> Tensor:
        """``(p', q', m')`` in the intensities of the first scan."""
        return torch.from_numpy(self.scan.data) * self.gain

    @property
    def rotation_deg(self) -> float:
        """How far it is turned against where its header says."""
        return turn_deg(self.moved)

    @property
    def translation_mm(self) -> np.ndarray:
        """``(3,)`` how far its middle is from where its header says."""
        middle = self.affine[:3, :3] @ ((np.array(self.scan.data.shape) - 1) / 2) + self.affine[:3, 3]
        return np.asarray(self.moved[:3, :3] @ middle + self.moved[:3, 3] - middle)


def open_stacks(
    config: RunConfig, scan: Scan, acquisition: Acquisition, converted: list[Path] | None = None
) -> tuple[Stack, ...]:
    """Read, align and model the further stacks of a run.

    Args:
        config: ``stacks``, ``align``, ``output_dir``, and what is said of the acquisition; ``spacing`` is that of the
            first alone.
        scan: the first stack.
        acquisition: its forward model, whose voxels the volume will have.
        converted: gets the files that DICOM series left in the output folder.

    Raises:
        InputError: as :func:`focvs.scan.scan.read_scan`, and for a stack that does not overlap the first or hardly
            resembles it.
    """
    first = torch.from_numpy(scan.data) @ spline_matrix(acquisition.grid, margins=False).float().T
    stacks = []
    voxels = volume_affine(scan, acquisition)[:3, :3]
    voxel_mm = min(acquisition.grid.voxel_mm, *scan.in_plane_mm)
    for number, name in enumerate(config.stacks, start=2):
        # folders of DICOM series often have one name
        folder = Path(config.output_dir) / f"stack-{number:02d}" if config.output_dir else None
        other = prepare_scan(Path(name), folder, config.slice_gains, overwrite=config.overwrite)
        if converted is not None:
            converted += other.converted
        moved = np.eye(4)
        if config.align == "rigid":
            moved = register_rigidly(spaced(scan, acquisition.grid.spacing_mm), other)
        # at no place coarser than the volume: its transpose would not be its inverse
        along = voxels_along(voxels, np.linalg.inv(moved)[:3, :3] @ other.affine[:3, :2])
        ratios = [voxel / size for voxel, size in zip(along, other.in_plane_mm, strict=True)]
        factors = [max(1, math.floor(ratio + ROUNDING)) for ratio in ratios]
        pixels = PixelGrid((factors[0], factors[1]), (other.data.shape[0], other.data.shape[1]))
        averaged = noise_factor(other, pixels)
        other = replace(coarsen(other, pixels), warnings=other.warnings)
        fine = [max(1, math.ceil(factor / ratio - ROUNDING)) for factor, ratio in zip(factors, ratios, strict=True)]
        wanted = replace(config, scan=name, spacing=None, voxel="auto", thickness=thickness_of(config, number - 1))
        model = model_acquisition(other, wanted, min(voxel_mm, 0.99 * other.spacing_mm))
        affine = np.linalg.inv(moved) @ other.affine
        stack = Stack(other, model, affine, (fine[0], fine[1]), moved)
        stacks.append(match(stack, config, scan, acquisition, first, averaged))
        log.info(
            "%s: slices along %s, aligned by %.2g degrees and %.2g mm, gain %.4g, correlation %.3f",
            other.path.name,
            other.slice_direction,
            stacks[-1].rotation_deg,
            np.linalg.norm(stacks[-1].translation_mm),
            stacks[-1].gain,
            stacks[-1].correlation,
        )
    return tuple(stacks)


def voxels_along(voxels: np.ndarray, directions: np.ndarray) -> list[float]:
    """Size in mm of the voxels whose axes are the columns of ``voxels`` along the nearest axis to each direction.

    Args:
        voxels: ``(3, 3)`` axes of the voxels in mm.
        directions: ``(3, k)``.
    """
    sizes = np.linalg.norm(voxels, axis=0)
    nearest = np.abs((voxels / sizes).T @ (directions / np.linalg.norm(directions, axis=0))).argmax(0)
    return [float(size) for size in sizes[nearest]]


def spaced(scan: Scan, spacing_mm: float) -> Scan:
    """The scan with another distance of its slices, about the same centre: ``spacing=`` where the header is wrong."""
    factor = spacing_mm / scan.spacing_mm
    affine, step = scan.affine.copy(), scan.affine[:3, 2]
    affine[:3, 2] = factor * step
    affine[:3, 3] += (1 - factor) * (scan.data.shape[-1] - 1) / 2 * step
    return replace(scan, affine=affine)


def match(
    stack: Stack, config: RunConfig, scan: Scan, acquisition: Acquisition, first: Tensor, averaged: float
) -> Stack:
    """Gain (ratio of the means), correlation and noise of a stack against the interpolated first scan ``(p, q, n)``.

    ``averaged`` is the noise of its working pixels over that of the acquired ones.

    Raises:
        InputError: for a stack beside the first one, or too unlike it.
    """
    names = f"{stack.scan.path.name} and {scan.path.name}"
    try:
        operator = stack.operator(first.shape, volume_affine(scan, acquisition))
    except ValueError as error:
        raise InputError(f"{names}: {error}") from error
    inside = operator.covered & torch.from_numpy(stack.scan.head)
    if inside.sum() < 1000:
        raise InputError(
            f"{names} hardly overlap; are both of one head, in one space? Scans of several heads are restored one by "
            "one."
        )
    expected, found = operator(first)[inside].double(), torch.from_numpy(stack.scan.data)[inside].double()
    gain = float(expected.sum() / found.sum())  # blur does not change sums; least squares would take it for a gain
    correlation = float(torch.corrcoef(torch.stack([expected, found]))[0, 1])
    if not (correlation >= LEAST_CORRELATION and gain > 0):
        raise InputError(
            f"{names} correlate by {correlation:.2f} where they overlap; give stacks of one head in one contrast, "
            "aligned (align=rigid). Scans of several heads are restored one by one."
        )
    given = parse_auto("noise", config.noise)  # in the intensities of the first
    noise = take_slices(stack.scan).noise_intensity if given is None else given * averaged / gain
    return replace(stack, gain=gain, correlation=correlation, noise_intensity=noise)
