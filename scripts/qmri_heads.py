"""Generated heads whose quantitative maps are known, and what is acquired of them.

A slab of a head of tissues at 3 T, in voxels of 0.6 mm that are of one tissue each; pairs of them along every axis are
averaged to voxels of 1.2 mm, which have true partial volume.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

import focvs
from focvs.acquisition.linear_operator import LinearOperator
from focvs.acquisition.tissue_head import tissue_maps
from focvs.acquisition.truncation import KSpaceTruncation
from focvs.config import QmriConfig
from focvs.reconstruction.quantitative import WeightedImage
from focvs.signal.fitting import USUAL, fit_maps
from focvs.signal.sequences import Mprage, Sequence, Several, SpinEcho

FINE_MM, VOXEL_MM = 0.6, 1.2
BOX = (slice(132, 168), slice(120, 264), slice(40, 200))  # of the fine voxels
TIMES_S = ((0.6, 0.015), (1.5, 0.015), (4.0, 0.015), (4.0, 0.06), (4.0, 0.12))  # TR and TE that maps are acquired with
ACQUIRED = Several(tuple(SpinEcho(tr, te) for tr, te in TIMES_S))
T1W, T2W = Mprage(2.3, 0.003, 0.9, math.radians(9), 0.0072, 176), SpinEcho(4.0, 0.09)
NOISE, GUIDE_NOISE = 0.005, 0.01
LESION_MM, LESION = 8.0, (0.85, 1.6, 0.15)  # diameter; proton density, T1 and T2 in seconds


def fine_head(seed: int) -> tuple[Tensor, np.ndarray]:
    """``(i, j, k, 3)`` maps and ``(i, j, k)`` labels of a slab, in voxels of ``FINE_MM``."""
    maps, labels = tissue_maps(seed, (304, 368, 200), FINE_MM)
    return torch.from_numpy(maps[BOX]).double(), labels[BOX]


def halved(values: Tensor) -> Tensor:
    """Means of two voxels along every axis."""
    a, b, c = (n // 2 for n in values.shape)
    return values.reshape(a, 2, b, 2, c, 2).mean((1, 3, 5))


def shown(fine: Tensor, sequence: Sequence) -> Tensor:
    """``(p, q, n)`` what a sequence shows of maps, on voxels of ``VOXEL_MM``."""
    signal = torch.zeros(fine.shape[:3], dtype=torch.float64)
    inside = fine[..., 0] > 0
    signal[inside] = sequence(fine[inside])
    return halved(signal)


def fitted(sequence: Sequence, signals: Tensor) -> Tensor:
    """Maps of ``(k, p, q, n)`` signals, zero in air."""
    inside = signals[0] > 0.02
    maps = torch.zeros(*inside.shape, 3, dtype=torch.float64)
    maps[inside] = fit_maps(sequence, signals[:, inside].T, USUAL, iterations=40).maps
    return maps


@dataclass(frozen=True)
class Acquisition:
    """Thick slices, or a truncation of k-space.

    Attributes:
        name: thickness:spacing in mm, or x and a factor.
    """

    name: str

    @property
    def factor(self) -> int:
        """Of a truncation; 1 for slices."""
        return int(self.name[1:]) if self.name.startswith("x") else 1

    @property
    def slices_mm(self) -> tuple[float, float]:
        """Thickness and spacing."""
        thickness_mm, spacing_mm = map(float, self.name.split(":"))
        return thickness_mm, spacing_mm

    def operator(self, shape: tuple[int, ...]) -> LinearOperator:
        """On voxels of 1.2 mm."""
        if self.factor > 1:
            return KSpaceTruncation(shape, (1, self.factor, self.factor))
        thickness_mm, spacing_mm = self.slices_mm
        slices = round(shape[-1] * VOXEL_MM / spacing_mm)
        return focvs.operator(slices=slices, spacing_mm=spacing_mm, thickness_mm=thickness_mm, voxel_mm=VOXEL_MM)

    def voxel_mm(self) -> tuple[float, float, float]:
        """Of what is acquired."""
        if self.factor > 1:
            return VOXEL_MM, self.factor * VOXEL_MM, self.factor * VOXEL_MM
        return VOXEL_MM, VOXEL_MM, self.slices_mm[1]


def configured(acquisition: Acquisition, samples: int) -> QmriConfig:
    """How focvs qmri is told of it."""
    config = QmriConfig(samples=samples)
    config.profile.kind = "gaussian"
    if acquisition.factor > 1:
        config.truncation = [1, acquisition.factor, acquisition.factor]
    else:
        config.thickness = acquisition.slices_mm[0]
    return config


def acquired(fine: Tensor, acquisition: Acquisition, seed: int) -> Tensor:
    """``(..., 3)`` maps on coarse voxels, fitted to spin echoes with noise."""
    signals = torch.stack([shown(fine, sequence) for sequence in ACQUIRED.sequences])
    coarse = acquisition.operator(signals.shape[1:])(signals)
    noise = np.random.default_rng(seed).standard_normal(coarse.shape)
    return fitted(ACQUIRED, coarse + NOISE * torch.from_numpy(noise))


def rendered(fine: Tensor, seed: int) -> dict[str, WeightedImage]:
    """Guides by name, with noise and a bias field."""
    rng, guides = np.random.default_rng((seed, 1)), {}
    for name, sequence in (("T1w", T1W), ("T2w", T2W)):
        image = shown(fine, sequence).numpy()
        bias = ndimage.gaussian_filter(rng.standard_normal(image.shape), 30)
        image = image * np.exp(0.15 * bias / bias.std()) * 1000
        image += GUIDE_NOISE * np.percentile(image, 99.5) * rng.standard_normal(image.shape)
        guides[name] = WeightedImage(torch.from_numpy(image.clip(0)), sequence)
    return guides


def with_lesion(fine: Tensor, labels: np.ndarray) -> tuple[Tensor, np.ndarray]:
    """A ball of diseased tissue in the middle of the white matter, and the thin voxels that it fills by half."""
    inner = np.zeros_like(labels, bool)
    inner[16:-16, 16:-16, 16:-16] = True
    depth = ndimage.distance_transform_edt(labels == 3) * inner
    centre = np.unravel_index(int(depth.argmax()), depth.shape)
    index = np.indices(labels.shape)
    away = np.sqrt(sum((index[k] - centre[k]) ** 2 for k in range(3))) * FINE_MM
    ball = torch.from_numpy(away <= LESION_MM / 2)
    ill = fine.clone()
    ill[ball] = fine[ball] / fine[ball].mean(0) * torch.tensor(LESION, dtype=torch.float64)
    return ill, halved(ball.double()).numpy() > 0.5
