"""Random slabs of slices drawn from the volumes of :mod:`focvs.training.cache`.

Every item is a function of ``(seed, index)`` alone, so a resumed training sees exactly what an uninterrupted
one would have seen, with any number of workers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy import ndimage
from scipy.interpolate import CubicSpline
from torch import Tensor
from torch.utils.data import Dataset

from focvs.acquisition.degradation import random_degradation
from focvs.training.cache import WHITE_LEVEL, CachedVolume
from focvs.training.synthesis import (
    add_lesions,
    add_vessels,
    bias_field,
    displacement,
    random_curve,
    synthesise,
    vary_painted,
)

PLANES = ("sagittal", "coronal", "axial")  # in the order of the axes that slices lie across


@dataclass(frozen=True)
class Augmentation:
    """Probability of each change of a patch; the ones named ``label`` concern images painted from label maps.

    Attributes:
        untouched: a real image at its own voxel size, not resampled.
        curve: contrast remapping of a real image by a smooth curve, a third of them inverted or free.
        bias: a smooth intensity field.
        lesions: soft blobs of one new intensity, in real images.
        vessels: thin bright or dark lines, in real images.
        label_lesions: the same in painted ones.
        label_vessels: the same in painted ones.
        label_noise: Rician noise.
        deformation: a smooth displacement of about 1.5 pixels, where the patch is resampled.
    """

    untouched: float = 0.4
    curve: float = 0.2
    bias: float = 0.3
    lesions: float = 0.08
    vessels: float = 0.03
    label_lesions: float = 0.3
    label_vessels: float = 0.2
    label_noise: float = 0.5
    deformation: float = 0.3


class PatchDataset(Dataset[tuple[Tensor, Tensor, Tensor, Tensor]]):
    """Random slabs of 2D patches in prior units and the scan a random acquisition would make of them.

    An item is the clean slab ``(slab, size, size)``, its slices a pixel apart; the scan interpolated to its pixels, of
    the same shape, slice axis last; the numbers of the acquisition ``(3,)``, thickness and spacing in pixels and noise
    in prior units; and whether the slice stands alone (it has no neighbours, or they were dropped at random), in which
    case the slab repeats it.
    Scan and numbers are zero where there is no scan.

    Args:
        volumes: from :func:`load_cache`.
        group_weights: probability weight of each group; a group that is absent is ignored.
        size: patch edge in pixels.
        voxel_range_mm: range of the pixel size of the patches.
        seed: first part of every item's random state.
        length: number of items.
        augmentation: how patches are varied.
        scanned: fraction of the patches with a scan; 0 for an unconditional prior.
        acquisitions: how many different random acquisitions there are.
        slab: slices of a slab, an odd number.
        alone: fraction of the slabs that lose their neighbours.
        planes: of the slices of volumes and label maps, some of :data:`PLANES`; thick scans have their own.

    Raises:
        ValueError: for planes of other names, or none.
    """

    LEFT_OUT: ClassVar[tuple[str, ...]] = ()  # groups

    def __init__(
        self,
        volumes: list[CachedVolume],
        group_weights: dict[str, float],
        size: int = 96,
        voxel_range_mm: tuple[float, float] = (0.6, 1.3),
        seed: int = 0,
        length: int = 1 << 40,
        augmentation: Augmentation | None = None,
        scanned: float = 0.85,
        acquisitions: int = 400,
        slab: int = 1,
        alone: float = 0.1,
        planes: Sequence[str] = PLANES,
    ):
        self.groups = {g: [v for v in volumes if v.group == g] for g in group_weights if g not in self.LEFT_OUT}
        self.groups = {g: v for g, v in self.groups.items() if v}
        weights = np.array([group_weights[g] for g in self.groups], dtype=float)
        self.probabilities = weights / weights.sum()
        self.size, self.voxel_range_mm, self.seed, self.length = size, voxel_range_mm, seed, length
        self.chance, self.scanned = augmentation or Augmentation(), scanned
        self.reach, self.alone = slab // 2, alone
        if not planes or not set(planes) <= set(PLANES):
            raise ValueError(f"planes={list(planes)} must be some of {', '.join(PLANES)}.")
        self.axes = [PLANES.index(plane) for plane in planes]
        rng = np.random.default_rng((seed, 0x5CA7))
        self.degradations = [random_degradation(size, rng) for _ in range(acquisitions if scanned else 0)]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        rng = np.random.default_rng((self.seed, index))
        clean = torch.from_numpy((2 * np.abs(self.image(rng)) - 1).astype(np.float32))
        scan, numbers = self._scan(clean, rng)
        alone, shape = len(clean) <= self.reach, (2 * self.reach + 1, *clean.shape[1:])
        return clean.expand(shape), scan.expand(shape), numbers, torch.tensor(alone)

    def _scan(self, clean: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """The interpolated scan of a slab and its numbers, or zeros."""
        if rng.random() >= self.scanned:
            return torch.zeros_like(clean), torch.zeros(3)
        degrade = self.degradations[rng.integers(len(self.degradations))]
        sigma = float(np.exp(rng.uniform(np.log(0.005), np.log(0.06)))) if rng.random() < 0.4 else 0.0
        white = rng.standard_normal((*clean.shape[:-1], degrade.slices), dtype=np.float32)
        scan = degrade.interpolated(clean, sigma, torch.from_numpy(white))
        return scan, torch.tensor([degrade.thickness_px, degrade.spacing_px, sigma])

    def image(self, rng: np.random.Generator) -> np.ndarray:
        """A slab ``(slab, size, size)``, or a slice alone ``(1, size, size)``, intensities about 0-1."""
        group = list(self.groups)[rng.choice(len(self.probabilities), p=self.probabilities)]
        members = self.groups[group]
        volume = members[rng.integers(len(members))]
        reach = 0 if volume.group == "thick" or rng.random() < self.alone else self.reach
        image = self._draw(volume, reach, rng)
        if rng.random() < self.chance.bias:
            image = image * bias_field(image.shape[1:], rng.uniform(0, 0.15), rng)
        if volume.group == "labels":
            return vary_painted(image, self.chance.label_noise, rng)
        if rng.random() < self.chance.curve:
            kind = str(rng.choice(["monotone", "inverted", "free"], p=[0.66, 0.22, 0.12]))
            image = random_curve(rng, kind)(image.clip(0, 1.5))
        if rng.random() < self.chance.lesions:
            image = add_lesions(image, rng)
        if rng.random() < self.chance.vessels:
            image = self._with_vessels(image, rng)
        return image.clip(0) ** np.exp(rng.normal(0, 0.12)) * rng.uniform(0.85, 1.1)

    @staticmethod
    def _with_vessels(image: np.ndarray, rng: np.random.Generator, unit: float = 1.0) -> np.ndarray:
        """Vessels wind through the middle slice, which then stands alone."""
        return add_vessels(image[len(image) // 2], rng, unit)[None]

    def _draw(self, volume: CachedVolume, reach: int, rng: np.random.Generator) -> np.ndarray:
        """``(2 reach + 1, size, size)`` of random plane, place, scale, rotation and flip, intensities about 0-1."""
        axis = 2 if volume.group == "thick" else self.axes[rng.integers(len(self.axes))]
        stack = np.moveaxis(volume.data, axis, 0)
        for _ in range(8):
            where = int(rng.integers(len(stack)))
            if (stack[where] > (0 if volume.group == "labels" else 0.1 * WHITE_LEVEL)).mean() > 0.15:
                break
        apart_mm, pixel_mm = volume.voxel_mm[axis], np.delete(np.array(volume.voxel_mm), axis)
        if rng.random() < 0.5:
            stack, pixel_mm = stack.swapaxes(1, 2), pixel_mm[::-1]
        if rng.random() < 0.5:
            stack = stack[:, ::-1]
        if rng.random() < 0.5:
            stack = stack[:, :, ::-1]
        if reach and rng.random() < 0.5:
            stack, where = stack[::-1], len(stack) - 1 - where
        untouched = volume.group != "labels" and rng.random() < self.chance.untouched
        if untouched and pixel_mm[0] == pixel_mm[1]:
            around = np.clip(np.arange(where - reach, where + reach + 1), 0, len(stack) - 1)
            return self._crop(stack[around], rng).astype(np.float32) / WHITE_LEVEL
        return self._resample(stack, where, reach, apart_mm, pixel_mm, volume, rng)

    def _crop(self, planes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        pad = [(0, 0), *[(0, max(0, self.size - n)) for n in planes.shape[1:]]]
        planes = np.pad(planes, pad, mode="edge")
        row, column = (int(rng.integers(n - self.size + 1)) for n in planes.shape[1:])
        return planes[:, row : row + self.size, column : column + self.size]

    def _resample(
        self,
        stack: np.ndarray,
        where: int,
        reach: int,
        apart_mm: float,
        pixel_mm: np.ndarray,
        volume: CachedVolume,
        rng: np.random.Generator,
    ) -> np.ndarray:
        low, high = self.voxel_range_mm
        target_mm = rng.uniform(max(low, 0.85 * pixel_mm.min()), high)
        aspect = np.exp(rng.normal(0, 0.05))
        angle = rng.normal(0, 0.25)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        stretch = turn * (target_mm * np.array([aspect, 1 / aspect])) / pixel_mm[:, None]
        margin = 0.35 * self.size * np.abs(stretch).sum(1)
        extent = np.array(stack.shape[1:], dtype=float)
        centre = rng.uniform(np.minimum(margin, extent / 2), np.maximum(extent - margin, extent / 2))
        fine = 2 if volume.group == "labels" or target_mm > 1.3 * pixel_mm.max() else 1
        steps = (np.arange(fine * self.size) + 0.5) / fine - self.size / 2
        grid = np.stack(np.meshgrid(steps, steps, indexing="ij")).reshape(2, -1)
        points = (stretch @ grid + centre[:, None] - 0.5).reshape(2, fine * self.size, -1)
        if rng.random() < self.chance.deformation:
            points = points + displacement((fine * self.size, fine * self.size), 1.5, rng)
        places = where + target_mm / apart_mm * np.arange(-reach, reach + 1)
        if volume.group == "labels":
            assert volume.families is not None
            planes = stack[np.rint(places).astype(int).clip(0, len(stack) - 1)]
            labels = np.stack([ndimage.map_coordinates(p, points, order=0, mode="nearest") for p in planes])
            image = synthesise(labels, volume.families, rng, depth=2.0)
            if rng.random() < self.chance.label_lesions:
                image = add_lesions(image, rng, unit=2.0)
            if rng.random() < self.chance.label_vessels:
                image = self._with_vessels(image, rng, unit=2.0)
        else:
            image = _cubic(_between(stack, places), points) / WHITE_LEVEL
        if fine == 2:
            image = image.reshape(-1, self.size, 2, self.size, 2).mean((2, 4))
        if volume.group == "labels":
            blur = rng.uniform(0.0, 0.6)
            image = ndimage.gaussian_filter(image, (0, blur, blur))
        return image


def _between(stack: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Slices of ``stack`` at fractional ``places``, by a cubic spline through the slices near them; ends repeat."""
    places = places.clip(0, len(stack) - 1)
    if np.array_equal(places, np.rint(places)):
        return stack[places.astype(int)]
    low, high = max(0, int(places.min()) - 2), min(len(stack), int(places.max()) + 4)
    weights = CubicSpline(np.arange(low, high), np.eye(high - low))(places).astype(np.float32)
    return np.tensordot(weights, stack[low:high].astype(np.float32), axes=1)


def _cubic(planes: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Bicubic samples ``(s, h, w)`` of ``planes`` at pixel coordinates ``points`` ``(2, h, w)``."""
    size = torch.tensor(planes.shape[1:], dtype=torch.float32)
    grid = torch.from_numpy(points.astype(np.float32)).permute(1, 2, 0)
    grid = ((2 * grid + 1) / size - 1).flip(-1)
    image = torch.from_numpy(np.ascontiguousarray(planes)).float()[None]
    out = torch.nn.functional.grid_sample(image, grid[None], mode="bicubic", padding_mode="border", align_corners=False)
    return out[0].clamp_min(0).numpy()
