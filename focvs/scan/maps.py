"""Maps of proton density, T1 and T2 from files, in seconds, with what cannot be refused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np

from focvs.errors import InputError
from focvs.scan.nifti import read_nifti

NAMES = ("proton density", "T1", "T2")
LIKELY_S = {"T1": (0.2, 3.0), "T2": (0.02, 0.6)}  # of the median of a head, 0.5 to 7 T
SAME_MM = 1e-3


@dataclass(frozen=True, eq=False)
class Maps:
    """Quantitative maps on one grid.

    Attributes:
        values: ``(i, j, k, 3)`` float64: proton density in any unit, T1 and T2 in seconds; zero where one is not known.
        affine: ``(4, 4)`` voxel-to-world, mm.
        header: of the first file.
        warnings: what was odd, a sentence each.
    """

    values: np.ndarray
    affine: np.ndarray
    header: nib.Nifti1Header
    warnings: tuple[str, ...]


def read_maps(density: Path, t1: Path, t2: Path) -> Maps:
    """Read three maps of one head.

    Raises:
        InputError: for a file that cannot be read, maps on different voxels, negative values, or times that are not
            likely seconds.
    """
    read = [read_nifti(path) for path in (density, t1, t2)]
    first = read[0]
    for path, (data, affine, *_) in zip((t1, t2), read[1:], strict=True):
        if data.shape != first[0].shape or not np.allclose(affine, first[1], atol=SAME_MM):
            raise InputError(
                f"{path.name} has {'x'.join(map(str, data.shape))} voxels or another place than {density.name} with "
                f"{'x'.join(map(str, first[0].shape))}; give maps on the same voxels."
            )
    paths = (density, t1, t2)
    warnings = [f"{path.name}: {warning}" for path, (*_, some) in zip(paths, read, strict=True) for warning in some]
    values = np.stack([data for data, *_ in read], axis=-1).astype(np.float64)
    for name, path, k in zip(NAMES, paths, range(3), strict=True):
        one = values[..., k]
        if (one < 0).mean() > 1e-3:
            raise InputError(
                f"{path.name}: {100 * (one < 0).mean():.2g} % of the {name} is negative; a map of it is 0 or more, 0 "
                "where it is not known."
            )
        one[one < 0] = 0
        if name in LIKELY_S:
            _require_seconds(one, name, path)
    values[(values <= 0).any(-1)] = 0
    if not values.any():
        raise InputError(f"{density.name}, {t1.name} and {t2.name} have no voxel in common where all are known.")
    return Maps(values, first[1], first[2], tuple(warnings))


def _require_seconds(values: np.ndarray, name: str, path: Path) -> None:
    """Refuse times whose median is no time of a head.

    Raises:
        InputError: saying so, and whether they would be in milliseconds.
    """
    known = values[values > 0]
    if not known.size:
        raise InputError(f"{path.name} is 0 everywhere; give a map of {name} in seconds.")
    middle = float(np.median(known))
    low, high = LIKELY_S[name]
    if low <= middle <= high:
        return
    guess = "; these look like milliseconds: divide by 1000" if low <= middle / 1000 <= high else ""
    raise InputError(
        f"{path.name}: the median {name} is {middle:.3g}, and a head has {low:g} to {high:g} seconds{guess}."
    )
