"""Random 3D blocks of the volumes of :mod:`focvs.training.cache`."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.spatial.transform import Rotation

from focvs.acquisition.simulation import rician
from focvs.training.cache import WHITE_LEVEL, CachedVolume
from focvs.training.datasets import PatchDataset
from focvs.training.synthesis import (
    add_lesions,
    bias_field,
    displacement,
    random_curve,
    synthesise,
)


class VolumePatchDataset(PatchDataset):
    """The same in 3D: patches ``(1, size, size, size)`` of isotropic volumes and label maps in random orientation.

    Thick scans, which show no volume, and vessels, which wind through one slice, are left out; ``planes`` is of no
    meaning.
    """

    LEFT_OUT = ("thick",)

    def image(self, rng: np.random.Generator) -> np.ndarray:
        """A patch ``(1, size, size, size)``, intensities about 0-1."""
        group = list(self.groups)[rng.choice(len(self.probabilities), p=self.probabilities)]
        members = self.groups[group]
        volume = members[rng.integers(len(members))]
        painted = volume.group == "labels"
        for _ in range(8):
            block = self._block(volume, rng)
            if (block > (0 if painted else 0.1 * WHITE_LEVEL)).mean() > 0.15:
                break
        if painted:
            assert volume.families is not None
            image = synthesise(block, volume.families, rng)
            image = image.reshape(self.size, 2, self.size, 2, self.size, 2).mean((1, 3, 5))
            image = ndimage.gaussian_filter(image, rng.uniform(0.0, 0.6))
        else:
            image = block.astype(np.float32) / WHITE_LEVEL
            if rng.random() < self.chance.curve:
                kind = str(rng.choice(["monotone", "inverted", "free"], p=[0.66, 0.22, 0.12]))
                image = random_curve(rng, kind)(image.clip(0, 1.5))
        if rng.random() < (self.chance.label_lesions if painted else self.chance.lesions):
            image = add_lesions(image, rng, anywhere=True)
        if rng.random() < self.chance.bias:
            image = image * bias_field(image.shape, rng.uniform(0, 0.15), rng)
        if painted and rng.random() < self.chance.label_noise:
            image = rician(image, rng.uniform(0, 0.03), rng)
        return (image.clip(0) ** np.exp(rng.normal(0, 0.25 if painted else 0.12)) * rng.uniform(0.85, 1.1))[None]

    def _block(self, volume: CachedVolume, rng: np.random.Generator) -> np.ndarray:
        """A block of the volume: intensities, or labels twice as fine; axes permuted and flipped at random."""
        painted, voxel_mm = volume.group == "labels", np.array(volume.voxel_mm)
        if not painted and np.ptp(voxel_mm) < 0.01 and rng.random() < self.chance.untouched:
            pad = [(0, max(0, self.size - n)) for n in volume.data.shape]
            data = np.pad(volume.data, pad, mode="edge") if max(p for _, p in pad) else volume.data
            start = [int(rng.integers(n - self.size + 1)) for n in data.shape]
            block = data[tuple(slice(s, s + self.size) for s in start)]
        else:
            block = self._resampled(volume, rng)
        block = block.transpose(rng.permutation(3))
        return np.flip(block, tuple(axis for axis in range(3) if rng.random() < 0.5))

    def _resampled(self, volume: CachedVolume, rng: np.random.Generator) -> np.ndarray:
        """A block of random place, scale, turn and deformation; of labels twice as fine as the patch."""
        voxel_mm, (low, high) = np.array(volume.voxel_mm), self.voxel_range_mm
        target_mm = rng.uniform(max(low, 0.85 * voxel_mm.min()), high)
        fine = 2 if volume.group == "labels" or target_mm > 1.3 * voxel_mm.max() else 1
        stretch = Rotation.from_rotvec(rng.normal(0, 0.15, 3)).as_matrix() * np.exp(rng.normal(0, 0.05, 3))
        stretch = stretch * target_mm / voxel_mm[:, None]
        margin, extent = 0.35 * self.size * np.abs(stretch).sum(1), np.array(volume.data.shape, dtype=float)
        centre = rng.uniform(np.minimum(margin, extent / 2), np.maximum(extent - margin, extent / 2))
        steps = (np.arange(fine * self.size) + 0.5) / fine - self.size / 2
        grid = np.stack(np.meshgrid(steps, steps, steps, indexing="ij")).reshape(3, -1)
        points = (stretch @ grid + centre[:, None] - 0.5).reshape(3, *[fine * self.size] * 3)
        if rng.random() < self.chance.deformation:
            points = points + displacement(points.shape[1:], 1.5, rng)
        around = 4  # voxels that splines need
        first = np.clip(np.floor(points.min((1, 2, 3))) - around, 0, extent - 1).astype(int)
        end = np.ceil(points.max((1, 2, 3))).astype(int) + around + 1
        part = volume.data[tuple(slice(f, max(e, f + 1)) for f, e in zip(first, end, strict=True))]
        places = points - first[:, None, None, None]
        if volume.group == "labels":
            return ndimage.map_coordinates(part, places, order=0, mode="nearest")
        image = ndimage.map_coordinates(part.astype(np.float32), places, order=3, mode="nearest").clip(0)
        return image.reshape(self.size, fine, self.size, fine, self.size, fine).mean((1, 3, 5))
