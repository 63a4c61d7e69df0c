"""Maps of proton density, T1 and T2, or weighted images, on one grid from files, with what cannot be refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np

from focvs.errors import InputError
from focvs.scan.nifti import read_nifti

NAMES = ("proton density", "T1", "T2")
LIKELY_S = {"T1": (0.2, 3.0), "T2": (0.02, 0.6)}  # of the median of a head, 0.5 to 7 T
SAME_MM = 1e-3
MOST_NEGATIVE = 1e-3  # of the voxels


@dataclass(frozen=True, eq=False)
class Volumes:
    """Volumes on one grid.

    Attributes:
        values: ``(i, j, k, volumes)`` float64, at least zero; all of them zero where one is.
        affine: ``(4, 4)`` voxel-to-world, mm.
        header: of the first file.
        path: the file that messages name, whose sidecar may tell of the acquisition.
        warnings: what was odd, a sentence each.
    """

    values: np.ndarray
    affine: np.ndarray
    header: nib.Nifti1Header
    path: Path
    warnings: tuple[str, ...] = ()

    @property
    def known(self) -> np.ndarray:
        """``(i, j, k)`` where all are known."""
        return np.asarray(self.values[..., 0] > 0)


def read_maps(paths: Sequence[Path | None]) -> Volumes:
    """Read maps of one head: proton density in any unit, T1 and T2 in seconds, zero where one is not known.

    Args:
        paths: of the three, None for one that there is not; its values are 1.

    Raises:
        InputError: for a file that cannot be read, maps on different voxels, negative values, times that are not
            likely seconds, or none at all.
    """
    given = [path for path in paths if path is not None]
    if not given:
        raise InputError("there is no map to work on; give at least one of density=, t1= and t2=.")
    read = _read(given, [name for name, path in zip(NAMES, paths, strict=True) if path is not None])
    values = np.repeat(read.known[..., None], 3, axis=-1).astype(np.float64)
    values[..., [path is not None for path in paths]] = read.values
    # thickness is rather beside T1 or T2 than beside a density that was computed
    path = next(path for path in (*paths[1:], paths[0]) if path is not None)
    return replace(read, values=values, path=path)


def read_images(paths: Sequence[Path]) -> Volumes:
    """Read weighted images of one head and one unit.

    Raises:
        InputError: for a file that cannot be read, images on different voxels, or negative values.
    """
    return _read(paths, ["image"] * len(paths))


def _read(paths: Sequence[Path], names: Sequence[str]) -> Volumes:
    read = [read_nifti(path) for path in paths]
    first = read[0]
    for path, (data, affine, *_) in zip(paths[1:], read[1:], strict=True):
        if data.shape != first[0].shape or not np.allclose(affine, first[1], atol=SAME_MM):
            raise InputError(
                f"{path.name} has {'x'.join(map(str, data.shape))} voxels or another place than {paths[0].name} with "
                f"{'x'.join(map(str, first[0].shape))}; give all of them on the same voxels."
            )
    warnings = [f"{path.name}: {warning}" for path, (*_, some) in zip(paths, read, strict=True) for warning in some]
    values = np.stack([data for data, *_ in read], axis=-1).astype(np.float64)
    for name, path, k in zip(names, paths, range(len(paths)), strict=True):
        one = values[..., k]
        if (one < 0).mean() > MOST_NEGATIVE:
            raise InputError(
                f"{path.name}: {100 * (one < 0).mean():.2g} % of the {name} is negative; values are 0 or more, 0 where "
                "one is not known."
            )
        one[one < 0] = 0
        if name in LIKELY_S:
            _require_seconds(one, name, path)
    values[(values <= 0).any(-1)] = 0
    if not values.any():
        raise InputError(f"{', '.join(path.name for path in paths)} have no voxel in common where all are above 0.")
    return Volumes(values, first[1], first[2], paths[0], tuple(warnings))


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
