"""A head from a label map, in the contrast of a pulse sequence: T1w, T2w or FLAIR.

The brain of the map is the ICBM 152 average (Fonov et al., NeuroImage 2011), whose notice is: Copyright (C) 1993-2009
Louis Collins, McConnell Brain Imaging Centre, Montreal Neurological Institute, McGill University. Permission to use,
copy, modify, and distribute this software and its documentation for any purpose and without fee is hereby granted,
provided that the above copyright notice appear in all copies. Skull, fat and skin are drawn around it
(scripts/make_tissue_labels.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from focvs.acquisition.simulation import rician
from focvs.signal.sequences import InversionRecovery, Sequence, SpinEcho, SpoiledGradientEcho

LABELS_FILE = Path(__file__).parent / "tissue_labels.npz"
LABEL_MM = 1.0


@dataclass(frozen=True)
class Tissue:
    """A tissue at 3 T.

    Attributes:
        name: in words.
        proton_density: of water or fat that is seen, fluid = 1; half of fat's 0.9, as head protocols excite mostly
            water.
        t1_s, t2_s: relaxation times in seconds.
    """

    name: str
    proton_density: float
    t1_s: float
    t2_s: float


# label 1 is the first; label 0 is air. Grey and white matter, muscle: Stanisz et al., MRM 2005; fluid: Lin et al., MRM
# 2001; fat, marrow: de Bazelaire et al., Radiology 2004; proton densities: Volz et al., NeuroImage 2012
TISSUES = (
    Tissue("cerebrospinal fluid", 1.00, 4.30, 2.00),
    Tissue("grey matter", 0.82, 1.82, 0.099),
    Tissue("white matter", 0.70, 1.084, 0.069),
    Tissue("deep grey matter", 0.78, 1.45, 0.080),
    Tissue("cortical bone", 0.10, 0.40, 0.0004),
    Tissue("marrow", 0.60, 0.586, 0.049),
    Tissue("fat", 0.45, 0.382, 0.068),
    Tissue("muscle and skin", 0.75, 1.412, 0.050),
)
CONTRASTS: dict[str, Sequence] = {
    "T1w": SpoiledGradientEcho(0.018, 0.003, math.radians(20)),
    "T2w": SpinEcho(5.0, 0.1),
    # the inversion nulls fluid
    "FLAIR": InversionRecovery(9.0, 0.12, -TISSUES[0].t1_s * math.log((1 + math.exp(-9 / TISSUES[0].t1_s)) / 2)),
}
TEXTURE = 0.03  # standard deviation of a tissue within itself


def signal(tissue: Tissue, contrast: str) -> float:
    """What a voxel full of a tissue shows.

    Args:
        tissue: its proton density and relaxation times.
        contrast: one of ``CONTRASTS``.

    Raises:
        ValueError: for another contrast.
    """
    if contrast not in CONTRASTS:
        raise ValueError(f"a contrast is one of {', '.join(CONTRASTS)}, and not {contrast}.")
    maps = torch.tensor([tissue.proton_density, tissue.t1_s, tissue.t2_s], dtype=torch.float64)
    return float(CONTRASTS[contrast](maps))


def tissue_head(
    contrast: str = "T1w",
    seed: int = 0,
    shape: tuple[int, int, int] = (152, 184, 120),
    voxel_mm: float = 1.2,
    texture_seed: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """A head of another size and shape for each seed, voxels that hold several tissues mixed by their shares.

    Args:
        contrast: one of ``CONTRASTS``.
        seed: of size, shape, texture, bias field and noise.
        shape: voxels left-right, back-front, feet-head; the head is centred, its top 6 mm below the last voxel.
        voxel_mm: their size.
        texture_seed: of texture, bias field and noise alone, so that two contrasts of one head have their own; None
            leaves them to ``seed``.

    Returns:
        ``(clean, noisy)`` float32, the brighter one of grey and white matter about 0.7: with bias field, and with bias
        field and Rician noise of 0.01.

    Raises:
        ValueError: as :func:`signal`.
    """
    rng = np.random.default_rng(seed)
    levels = np.array([0.0, *(signal(tissue, contrast) for tissue in TISSUES)])
    levels *= 0.72 / max(levels[2], levels[3])
    shares = _shares(_places(shape, voxel_mm, rng))
    if texture_seed is not None:
        rng = np.random.default_rng((seed, texture_seed))
    clean = np.zeros(shape, np.float32)
    for level, share in zip(levels, shares, strict=True):
        texture = _smooth_noise(shape, 0.8, rng)
        clean += np.float32(level) * share * (1 + np.float32(TEXTURE) * texture)
    clean *= np.exp(0.10 * _smooth_noise(shape, 40 / voxel_mm, rng))
    noisy = rician(clean, 0.01, rng)
    return clean, noisy.astype(np.float32)


def tissue_maps(
    seed: int = 0, shape: tuple[int, int, int] = (152, 184, 120), voxel_mm: float = 1.2
) -> tuple[np.ndarray, np.ndarray]:
    """Proton density, T1 and T2 of such a head at 3 T, each voxel of one tissue.

    Signals of voxels twice as large, made by averaging those of these, have true partial volume.

    Args:
        seed: of size, shape and texture.
        shape: voxels left-right, back-front, feet-head.
        voxel_mm: their size.

    Returns:
        ``(i, j, k, 3)`` float32, T1 and T2 in seconds, zero in air; and ``(i, j, k)`` labels, 0 for air and k for
        ``TISSUES[k - 1]``.
    """
    rng = np.random.default_rng(seed)
    labels = _shares(_places(shape, voxel_mm, rng)).argmax(0).astype(np.uint8)
    table = np.array([(0, 0, 0), *((t.proton_density, t.t1_s, t.t2_s) for t in TISSUES)], np.float32)
    maps = table[labels]
    for k in range(3):
        maps[..., k] *= 1 + np.float32(TEXTURE) * _smooth_noise(shape, 1.0 / voxel_mm, rng)
    return maps, labels


def _smooth_noise(shape: tuple[int, ...], voxels: float, rng: np.random.Generator) -> np.ndarray:
    """A random field of standard deviation 1, smoothed by a Gaussian of a standard deviation in voxels."""
    factor = max(1, int(voxels / 4))  # smooth fields are made on a coarser grid
    coarse = tuple(-(-n // factor) + 1 for n in shape)
    field = ndimage.gaussian_filter(rng.standard_normal(coarse, dtype=np.float32), voxels / factor)
    if factor > 1:
        field = ndimage.zoom(field, factor, order=1, grid_mode=True, mode="nearest")
    field = field[tuple(slice(n) for n in shape)]
    return field / field.std()


def _places(shape: tuple[int, int, int], voxel_mm: float, rng: np.random.Generator) -> np.ndarray:
    """Where in the label map each voxel lies: ``(3, i, j, k)`` labels from its first one, float32."""
    size = np.load(LABELS_FILE)["labels"].shape
    places = []
    for axis, (n, labels) in enumerate(zip(shape, size, strict=True)):
        middle = (np.arange(n) - (n - 1) / 2) * voxel_mm / LABEL_MM
        scale = rng.uniform(0.94, 1.02)
        if axis == 2:  # the top of the head stays in the field of view
            along = labels - 1 + (middle - middle[-1] + 6 / LABEL_MM) / scale
        else:
            along = (labels - 1) / 2 + middle / scale
        bend = 2.0 * _smooth_noise(shape, 24 / voxel_mm, rng)
        places.append(along.reshape([-1 if a == axis else 1 for a in range(3)]) + bend)
    return np.stack([np.broadcast_to(p, shape) for p in places]).astype(np.float32)


def _shares(places: np.ndarray) -> np.ndarray:
    """Share of air and of each tissue in voxels at ``places`` of the label map: ``(1 + tissues, i, j, k)``."""
    labels = np.load(LABELS_FILE)["labels"]
    size = np.array(labels.shape, dtype=np.float32)[:, None, None, None]
    # grid_sample wants the last axis first, from -1 to 1 between the outermost centres
    grid = torch.from_numpy(np.moveaxis(2 * places / (size - 1) - 1, 0, -1)[..., ::-1].copy())[None]
    found = []
    for number in range(len(TISSUES) + 1):
        soft = ndimage.gaussian_filter((labels == number).astype(np.float32), 0.45)
        found.append(F.grid_sample(torch.from_numpy(soft)[None, None], grid, align_corners=True)[0, 0].numpy())
    shares = np.stack(found)
    shares[0] += 1 - shares.sum(0)  # outside of the map is air
    return shares
