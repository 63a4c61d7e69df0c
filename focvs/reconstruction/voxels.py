"""Where the voxels of a volume lie, which of them hold head, and what the scan says of them."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.grid import ThroughPlaneGrid
from focvs.reconstruction.forward_model import Acquisition
from focvs.reconstruction.nonnegative import project_nonnegative
from focvs.scan.scan import Scan
from focvs.scan.slices import Region

WORTH_SAYING = 0.005  # of the white level, that a volume goes below zero
FEW, DEEP = 2e-4, 0.03  # a share of voxels that is not worth it, unless one is that far below
BLANK_REACH = 2  # slices on both sides that must be zero too for a voxel to be blank


def voxel_window(grid: ThroughPlaneGrid, slices: slice) -> slice:
    """Voxels (margins counted) that a range of slices covers."""
    per_slice = grid.spacing_mm / grid.voxel_mm
    low = math.floor(slices.start * per_slice) + grid.margin if slices.start else 0
    high = math.ceil(slices.stop * per_slice) + grid.margin if slices.stop < grid.slices else grid.total
    return slice(low, min(high, grid.total))


def volume_affine(
    scan: Scan, acquisition: Acquisition, region: Region | None = None, *, margins: bool = False
) -> np.ndarray:
    """``(4, 4)`` voxel-to-world in mm, the slice axis last.

    Args:
        scan: where it lies.
        acquisition: of whose voxels along the slice axis.
        region: in-plane crop; None for all pixels.
        margins: whether the first voxel is that of the margin.
    """
    affine = acquisition.grid.affine(scan.affine)
    first = np.zeros(4)
    if region is not None:
        first[:2] = [part.start for part in region.crop]
    if margins:
        first[2] = -acquisition.grid.margin
    affine[:, 3] += affine @ first
    return affine


def blank_voxels(scan: Tensor, grid: ThroughPlaneGrid) -> Tensor:
    """Voxels ``(p, q, n)`` of a background that was set to zero, or of padding: they are left at zero.

    The nearest slice and :data:`BLANK_REACH` more on both sides must be exactly zero there, so that what the
    replacement changes beside the head is no part of it.

    Args:
        scan: ``(p, q, m)`` intensities as they were read.
        grid: slices and voxels.
    """
    empty = scan == 0
    far = empty.clone()
    for reach in range(1, BLANK_REACH + 1):
        far[..., reach:] &= empty[..., :-reach]
        far[..., :-reach] &= empty[..., reach:]
    return far[..., grid.crop(grid.nearest_slices)]


def hold(whole: Tensor, scan: Scan, acquisition: Acquisition) -> None:
    """Replace what the scan knows in ``whole`` ``(p, q, n)``, in place: exactly, in float64, a row at a time."""
    for x, y in zip(whole, torch.from_numpy(scan.data), strict=True):
        x[:] = acquisition.written.replace(x.double(), y.double()).float()


def keep_positive(whole: Tensor, scan: Scan, acquisition: Acquisition, exact: bool, wanted: bool | str) -> None:
    """Leave nothing in ``whole`` ``(p, q, n)``, in place, below zero, or below the lowest of the scan if that is lower.

    Args:
        whole: intensities.
        scan: the scan.
        acquisition: its forward model.
        exact: whether ``whole`` reproduces the scan, which is kept.
        wanted: ``auto``: as far as the scan can still be reproduced; True: also where it cannot; False: not at all.
    """
    if wanted is False:
        return
    if exact:
        data = torch.from_numpy(scan.data)
        project_nonnegative(whole, data, acquisition.written, scan.units.white, floor_of(scan))
    if not exact or wanted is True:
        whole.clamp_min_(floor_of(scan))


def floor_of(scan: Scan) -> float:
    """What no voxel should be below: 0, or the lowest of the scan if that is lower."""
    return min(0.0, float(scan.data.min()))


def left_below_zero(volume: np.ndarray, scan: Scan) -> list[str]:
    """A warning where a volume goes clearly below zero, or below the lowest of its scan, in more than a few voxels."""
    floor = floor_of(scan)
    lowest = (float(volume.min()) - floor) / scan.units.white
    clearly = floor - WORTH_SAYING * scan.units.white
    share = float((volume < clearly).mean())
    if share < FEW and lowest > -DEEP:
        return []
    named = "zero" if floor == 0 else "the lowest of the scan"
    return [
        f"{100 * share:.2g} % of the voxels are below {named} by more than "
        f"{100 * WORTH_SAYING:g} % of white, by up to {-100 * lowest:.2g} %: without them the scan could not be "
        "reproduced there; nonnegative=true lifts them."
    ]


def volume_mask(mask: Tensor, grid: ThroughPlaneGrid) -> Tensor:
    """Head mask of the voxels, ``(p, q, total)``, from that of the slices, widened by a slice and two pixels.

    Along the slice axis each column is head from its first to its last head slice, which keeps the number of
    different columns small.
    """
    wide = torch.nn.functional.max_pool2d(mask.movedim(-1, 0)[:, None].float(), 5, stride=1, padding=2)
    head = wide[:, 0].movedim(0, -1) > 0
    head = (head.cumsum(-1) > 0) & (head.flip(-1).cumsum(-1).flip(-1) > 0)
    head = torch.nn.functional.max_pool1d(head.float(), 3, stride=1, padding=1) > 0
    return head[..., grid.nearest_slices]
