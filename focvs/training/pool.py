"""A pool of resampled and deformed volumes that batches of slabs are cut from, so that data never make training wait.

Making a volume takes a second or two, cutting a patch from it a millisecond. The pool at a step is a function of the
seed and the step alone: volume ``k`` is made from ``(seed, k)``, and every ``refresh`` steps the oldest one goes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from scipy.spatial.transform import Rotation
from torch import Tensor

from focvs.acquisition.degradation import random_degradation
from focvs.training.cache import WHITE_LEVEL, CachedVolume
from focvs.training.synthesis import (
    add_lesions,
    bias_field,
    displacement,
    random_curve,
    synthesise,
    vary_painted,
)

FOREGROUND = 0.1  # intensities above this are head
LEAST_HEAD = 0.15  # share of a patch, if a few tries find it
THICKEST_NEIGHBOURS_MM = 2.0  # slices further apart stand alone


@dataclass(frozen=True)
class PoolPlan:
    """What the pool holds and how patches are varied.

    Attributes:
        group_weights: probability weight of each group of :class:`CachedVolume`; absent groups are ignored.
        volumes: how many it holds at a time.
        refresh: steps after which the oldest volume is replaced.
        edge: largest edge of a volume, voxels.
        patch: edge of a patch, pixels.
        slab: slices of a patch, an odd number.
        voxel_range_mm: of the voxels that volumes are resampled to.
        untouched: probability that an isotropic volume keeps its voxels.
        deformation: probability of a smooth displacement of about 1.5 voxels, where a volume is resampled.
        alone: probability that a slice is shown without its neighbours.
        bias, curve, lesions, label_lesions, label_noise: probabilities of each change of a patch, as in
            :class:`focvs.training.datasets.Augmentation`.
        noisy: probability that the scan has noise, of 0.25 to 3 % of the 99.5th percentile.
        acquisitions: how many different random acquisitions there are.
        second_contrast: whether label maps are painted a second time, for guides.
    """

    group_weights: dict[str, float]
    volumes: int = 64
    refresh: int = 24
    edge: int = 144
    patch: int = 96
    slab: int = 5
    voxel_range_mm: tuple[float, float] = (0.6, 1.3)
    untouched: float = 0.35
    deformation: float = 0.3
    alone: float = 0.05
    bias: float = 0.3
    curve: float = 0.25
    lesions: float = 0.1
    label_lesions: float = 0.3
    label_noise: float = 0.5
    noisy: float = 0.4
    acquisitions: int = 400
    second_contrast: bool = False


@dataclass(frozen=True)
class PoolVolume:
    """Intensities about 0-1 as float16, and which of its axes may be that of the slab's slices.

    ``second`` is the same place in another contrast, of a label map that is painted twice.
    """

    data: np.ndarray
    axes: tuple[int, ...]
    neighbours: bool
    painted: bool
    second: np.ndarray | None = None


class VolumePool:
    """Batches of slabs and of the scans that random acquisitions make of them.

    Args:
        volumes: from :func:`focvs.training.cache.load_cache`.
        plan: see :class:`PoolPlan`.
        seed: first part of every random state.
        workers: threads that make volumes while the pool fills.
    """

    def __init__(self, volumes: Sequence[CachedVolume], plan: PoolPlan, seed: int = 0, workers: int = 2):
        groups = {g: [v for v in volumes if v.group == g] for g in plan.group_weights}
        self.groups = {g: members for g, members in groups.items() if members}
        weights = np.array([plan.group_weights[g] for g in self.groups], dtype=float)
        self.probabilities = weights / weights.sum()
        self.plan, self.seed, self.workers = plan, seed, workers
        rng = np.random.default_rng((seed, 0x5CA7))
        self.degradations = [random_degradation(plan.patch, rng) for _ in range(plan.acquisitions)]
        self.held: deque[PoolVolume] = deque()
        self.first = -1

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Clean slices ``(size, 1, h, w)`` and interpolated scans ``(size, slab, h, w)`` of a step, prior units."""
        self.advance(step // self.plan.refresh)
        rng = np.random.default_rng((self.seed, 1, step))
        clean, scans = zip(*(self._pair(rng) for _ in range(size)), strict=True)
        return torch.stack(clean), torch.stack(scans)

    def slabs(self, step: int, size: int) -> Tensor:
        """Clean slabs ``(size, slab, h, w)`` of a step, prior units; a slice alone is repeated."""
        self.advance(step // self.plan.refresh)
        rng = np.random.default_rng((self.seed, 4, step))
        return torch.stack([self._clean(rng).expand(self.plan.slab, -1, -1) for _ in range(size)])

    def advance(self, first: int) -> None:
        """Hold the volumes ``first`` to ``first + plan.volumes``."""
        if not self.first <= first < self.first + len(self.held):
            self.held.clear()
            with ThreadPoolExecutor(self.workers) as threads:
                self.held.extend(threads.map(self._make, range(first, first + self.plan.volumes)))
        else:
            for k in range(self.first, first):
                self.held.popleft()
                self.held.append(self._make(k + self.plan.volumes))
        self.first = first

    def _make(self, k: int) -> PoolVolume:
        rng = np.random.default_rng((self.seed, 0, k))
        members = self.groups[list(self.groups)[rng.choice(len(self.probabilities), p=self.probabilities)]]
        volume = members[rng.integers(len(members))]
        if volume.group == "labels":
            data, second = self.paint(volume, rng)
            return PoolVolume(data, (0, 1, 2), True, True, second)
        if volume.group != "thick":
            return PoolVolume(self._resampled(volume, rng), (0, 1, 2), True, False)
        if volume.voxel_mm[2] > THICKEST_NEIGHBOURS_MM:
            return PoolVolume(self._resampled(volume, rng, stack=True), (2,), False, False)
        return PoolVolume(self._resampled(volume, rng), (2,), True, False)

    def _resampled(self, volume: CachedVolume, rng: np.random.Generator, stack: bool = False) -> np.ndarray:
        """A block of a real volume; a ``stack`` keeps its slices and is resampled within them."""
        voxel_mm, (low, high) = np.array(volume.voxel_mm), self.plan.voxel_range_mm
        isotropic = np.ptp(voxel_mm) < 0.01 or (stack and voxel_mm[0] == voxel_mm[1])
        if isotropic and volume.finest_mm <= voxel_mm.min() and rng.random() < self.plan.untouched:
            start = [int(rng.integers(max(1, n - self.plan.edge + 1))) for n in volume.data.shape]
            start[2] = 0 if stack else start[2]
            block = volume.data[tuple(slice(s, s + self.plan.edge) for s in start)]
            return block.astype(np.float16) / np.float16(WHITE_LEVEL)
        own = voxel_mm[:2] if stack or volume.group == "thick" else voxel_mm
        least = max(low, 0.85 * own.min(), volume.finest_mm)
        target_mm = rng.uniform(least, max(high, 1.15 * least))
        points, part = self._points(volume, target_mm, self.plan.edge, rng, stack)
        block = ndimage.map_coordinates(part.astype(np.float32), points, order=3, mode="nearest")
        return (block / WHITE_LEVEL).clip(0, 2.1).astype(np.float16)

    def paint(self, volume: CachedVolume, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray | None]:
        """A block of a label map in a random contrast, painted twice as fine for partial volume; in two for guides."""
        assert volume.families is not None
        edge = min(self.plan.edge, 112)
        target_mm = rng.uniform(*self.plan.voxel_range_mm)
        points, part = self._points(volume, target_mm / 2, 2 * edge, rng, stack=False)
        labels = ndimage.map_coordinates(part, points, order=0, mode="nearest")
        half = [n // 2 for n in labels.shape]
        labels = labels[tuple(slice(2 * n) for n in half)]

        def paint(families: np.ndarray) -> np.ndarray:
            image = synthesise(labels, families, rng).reshape(half[0], 2, half[1], 2, half[2], 2).mean((1, 3, 5))
            return ndimage.gaussian_filter(image, rng.uniform(0.0, 0.6)).astype(np.float16)

        return paint(volume.families), paint(volume.families) if self.plan.second_contrast else None

    def _points(
        self, volume: CachedVolume, target_mm: float, edge: int, rng: np.random.Generator, stack: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """Coordinates ``(3, x, y, z)`` of a block of random place, turn, stretch and deformation in a part."""
        voxel_mm, extent = np.array(volume.voxel_mm), np.array(volume.data.shape, dtype=float)
        turn = Rotation.from_rotvec(rng.normal(0, 0.15, 3) * ([0, 0, 1] if stack else [1, 1, 1])).as_matrix()
        stretch = turn * np.exp(rng.normal(0, 0.05, 3)) * target_mm / voxel_mm[:, None]
        if stack:
            stretch[2] = [0, 0, 1]
        shape = np.minimum(edge, np.ceil(extent / np.abs(np.diagonal(stretch)))).astype(int)
        margin = 0.4 * np.abs(stretch) @ shape
        centre = rng.uniform(np.minimum(margin, extent / 2), np.maximum(extent - margin, extent / 2))
        if stack:
            shape[2], centre[2] = int(extent[2]), extent[2] / 2
        axes = [np.arange(n) + 0.5 - n / 2 for n in shape]
        grid = np.stack(np.meshgrid(*axes, indexing="ij")).astype(np.float32)
        points = (
            np.tensordot(stretch.astype(np.float32), grid, axes=1)
            + (centre - 0.5).astype(np.float32)[:, None, None, None]
        )
        if rng.random() < self.plan.deformation:
            field = displacement(tuple(shape), 1.5, rng)
            points[: 2 if stack else 3] += field[: 2 if stack else 3]
        around = 6  # voxels that splines need
        first = np.clip(np.floor(points.min((1, 2, 3))) - around, 0, extent - 1).astype(int)
        end = np.ceil(points.max((1, 2, 3))).astype(int) + around + 1
        part = volume.data[tuple(slice(f, max(e, f + 1)) for f, e in zip(first, end, strict=True))]
        return points - first.astype(np.float32)[:, None, None, None], part

    def _pair(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A clean slice ``(1, h, w)`` and the scan of its slab ``(slab, h, w)``, slice axis last."""
        clean = self._clean(rng)
        degrade = self.degradations[rng.integers(len(self.degradations))]
        sigma = float(np.exp(rng.uniform(np.log(0.005), np.log(0.06)))) if rng.random() < self.plan.noisy else 0.0
        white = torch.from_numpy(rng.standard_normal((*clean.shape[:-1], degrade.slices), dtype=np.float32))
        scan = degrade.interpolated(clean, sigma, white)
        middle = len(clean) // 2
        return clean[middle : middle + 1], scan.expand(self.plan.slab, *scan.shape[1:])

    def _clean(self, rng: np.random.Generator) -> Tensor:
        """``(slab, h, w)``, or ``(1, h, w)`` of a slice alone, prior units."""
        volume = self.held[rng.integers(len(self.held))]
        image = self.vary(self._cut(volume, rng), volume, rng)
        return torch.from_numpy(np.ascontiguousarray(2 * image - 1, dtype=np.float32))

    def vary(self, image: np.ndarray, volume: PoolVolume, rng: np.random.Generator) -> np.ndarray:
        """Slices ``(s, h, w)`` of a volume with another contrast, a bias field, lesions or noise, by chance."""
        if rng.random() < self.plan.bias:
            image = image * bias_field(image.shape[1:], rng.uniform(0, 0.15), rng)
        if volume.painted:
            if rng.random() < self.plan.label_lesions:
                image = add_lesions(image, rng)
            return vary_painted(image, self.plan.label_noise, rng)
        if rng.random() < self.plan.curve:
            kind = str(rng.choice(["monotone", "inverted", "free"], p=[0.5, 0.35, 0.15]))
            image = random_curve(rng, kind)(image.clip(0, 1.5))
        if rng.random() < self.plan.lesions:
            image = add_lesions(image, rng)
        return image.clip(0) ** np.exp(rng.normal(0, 0.12)) * rng.uniform(0.85, 1.1)

    def _cut(self, volume: PoolVolume, rng: np.random.Generator) -> np.ndarray:
        """A slab of random orientation and place, turned and mirrored."""
        axis, size = volume.axes[rng.integers(len(volume.axes))], self.plan.patch
        others = [a for a in range(3) if a != axis]
        if rng.random() < 0.5:
            others.reverse()
        stack = volume.data.transpose(axis, *others)
        reach = self.plan.slab // 2 if volume.neighbours and rng.random() >= self.plan.alone else 0
        for _ in range(8):
            place = int(rng.integers(len(stack)))
            row, column = (int(rng.integers(max(1, n - size + 1))) for n in stack.shape[1:])
            window = stack[place, row : row + size, column : column + size]
            if (window > FOREGROUND).mean() > LEAST_HEAD:
                break
        around = np.clip(np.arange(place - reach, place + reach + 1), 0, len(stack) - 1)
        slab = stack[around, row : row + size, column : column + size].astype(np.float32)
        short = [(0, size - n) for n in slab.shape[1:]]
        if short != [(0, 0), (0, 0)]:
            slab = np.pad(slab, [(0, 0), *short], mode="edge")
        return np.flip(slab, tuple(a for a in range(3) if rng.random() < 0.5))


@dataclass(frozen=True)
class SlabPool:
    """Batches for a network that sees nothing but noisy slabs: clean ones, and no image besides."""

    volumes: VolumePool

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Clean slabs ``(size, slab, h, w)`` of a step, prior units, and ``(size, 0, h, w)``."""
        slabs = self.volumes.slabs(step, size)
        return slabs, slabs[:, :0]
