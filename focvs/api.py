"""FOCVS from Python: the commands as functions of images, without a word of configuration files.

``result = focvs.restore("scan.nii.gz", thickness=4)``, then ``result.mean.to_filename("restored.nii.gz")``.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import nibabel as nib
import numpy as np
from nibabel.spatialimages import SpatialImage

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.commands.overrides import compose, quote, to_schema
from focvs.commands.scores import measure_estimates
from focvs.commands.simulate import simulate_scan
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.reconstruction.progress import listening
from focvs.reconstruction.thickness import load_profile
from focvs.run_config import ProfileConfig

Image: TypeAlias = str | Path | SpatialImage | tuple[np.ndarray, np.ndarray]
MAPS = ("std", "nullstd", "q05", "q95")


@dataclass(frozen=True, eq=False)
class Result:
    """What a restoration gave, as images with affines in mm.

    Attributes:
        mean: the best estimate.
        std: standard deviation of its error; None where nothing tells it.
        nullstd: of the part that the scan says nothing about.
        q05: lower end of the interval that about 90 % of true intensities lie in.
        q95: its upper end.
        samples: volumes that it may have been, where they were asked for.
        report: what the JSON of the command holds: acquisition, consistency, settings, warnings.
        page: the HTML page, where it was asked for.
    """

    mean: nib.Nifti1Image
    std: nib.Nifti1Image | None = None
    nullstd: nib.Nifti1Image | None = None
    q05: nib.Nifti1Image | None = None
    q95: nib.Nifti1Image | None = None
    samples: list[nib.Nifti1Image] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)
    page: str | None = None

    @property
    def warnings(self) -> list[str]:
        """What was odd, a sentence each."""
        return self.report["warnings"]


def restore(
    image: Image,
    thickness: float | str | None = None,
    *,
    quality: str = "default",
    samples: int = 0,
    stacks: Sequence[Image] = (),
    guide: Image | None = None,
    progress: Callable[[float], None] | None = None,
    page: bool = False,
    **options: Any,
) -> Result:
    """Restore isotropic voxels from a multi-slice scan.

    Args:
        image: a path (image file or DICOM folder), a nibabel image, or an array ``(i, j, k)`` with its ``(4, 4)``
            affine in mm.
        thickness: of the slices in mm, full width at half maximum; ``"estimate"`` measures it on the scan; None takes
            it from the JSON beside the file, and otherwise assumes the slice spacing, with a warning.
        quality: ``fast``, ``default``, ``best`` or ``samples``.
        samples: volumes to draw around the mean.
        stacks: further scans of the same head in the same contrast.
        guide: another contrast of the same head, its voxels small in all directions.
        progress: called with the share that is done, from 0 to 1, from any thread.
        page: whether the page with a viewer is made as well.
        options: any other key of conf/config.yaml, those within groups as a dictionary: ``spacing=6.0``,
            ``exclude=[3]``, ``profile="slr"``, ``sampler={"levels": 16}``.

    Returns:
        The volume and how far it may be off, in memory.

    Raises:
        InputError: one sentence about what was wrong with the scan or an option.
        UsageError: for an option that there is not.
        PriorError: if the prior cannot be loaded.
    """
    with tempfile.TemporaryDirectory(prefix="focvs-") as name:
        work = Path(name)
        given = {"thickness": thickness, "quality": quality, "samples": samples, **options}
        given["stacks"] = [str(_as_file(stack, work / f"stack{k}.nii.gz")) for k, stack in enumerate(stacks, start=2)]
        given["guide"] = None if guide is None else str(_as_file(guide, work / "guide.nii.gz"))
        given |= {"report": page, "figure": False, "progress": False, "output_dir": str(work / "out")}
        words = [f"scan={quote(str(_as_file(image, work / 'scan.nii.gz')))}", *_words(given)]
        with listening(progress):
            paths = super_resolve(to_schema(compose("config", words)))
        return Result(
            mean=_in_memory(paths["mean"]),
            **{key: _in_memory(paths[key]) for key in MAPS if key in paths},
            samples=[_in_memory(paths[key]) for key in sorted(paths) if key.startswith("sample-")],
            report=json.loads(paths["json"].read_text(encoding="utf-8")),
            page=paths["report"].read_text(encoding="utf-8") if page else None,
        )


def simulate(
    volume: Image,
    thickness: float,
    *,
    spacing: float | None = None,
    profile: str = "gaussian",
    axis: str = "inferior-superior",
    noise: float = 0.0,
    rician: bool = False,
    seed: int = 0,
) -> nib.Nifti1Image:
    """A scan of thick slices from a volume of thin ones.

    Args:
        volume: as ``image`` of :func:`restore`.
        thickness: of the slices, mm.
        spacing: of their centres, mm; None leaves no gap.
        profile: ``gaussian``, ``rect``, ``slr`` or ``kspace``.
        axis: of the slices, such as ``inferior-superior``.
        noise: standard deviation as a share of the white level.
        rician: whether the noise is that of magnitudes.
        seed: of the noise.

    Raises:
        InputError: for what cannot be simulated.
    """
    with tempfile.TemporaryDirectory(prefix="focvs-") as name:
        work = Path(name)
        words = [f"volume={quote(str(_as_file(volume, work / 'volume.nii.gz')))}"]
        words += [f"output={quote(str(work / 'scan.nii.gz'))}"]
        words += _words({"thickness": thickness, "spacing": spacing, "profile": profile, "axis": axis})
        words += _words({"noise": noise, "rician": rician, "seed": seed})
        return _in_memory(simulate_scan(to_schema(compose("simulate", words))))


def evaluate(
    truth: Image, estimates: Image | list[Image], *, scan: Image | None = None, **options: Any
) -> list[dict[str, Any]]:
    """PSNR, SSIM and the other numbers of ``focvs evaluate``, a dictionary for each estimate.

    Args:
        truth: as ``image`` of :func:`restore`.
        estimates: one, or a list of several.
        scan: that they were made from: their own slices are compared with it.
        options: any other key of conf/evaluate.yaml, such as ``thickness=4`` or ``trim=8.0``.

    Raises:
        InputError: for unreadable volumes, or one of another head.
    """
    several = estimates if isinstance(estimates, list) else [estimates]
    with tempfile.TemporaryDirectory(prefix="focvs-") as name:
        work = Path(name)
        files = [_as_file(estimate, work / f"estimate{k}.nii.gz") for k, estimate in enumerate(several, start=1)]
        given = {"truth": str(_as_file(truth, work / "truth.nii.gz")), "estimates": list(map(str, files)), **options}
        if scan is not None:
            given["scan"] = str(_as_file(scan, work / "scan.nii.gz"))
        return measure_estimates(to_schema(compose("evaluate", _words(given))))[0]


def operator(
    slices: int, spacing_mm: float, thickness_mm: float, voxel_mm: float, profile: str = "gaussian"
) -> ThroughPlaneOperator:
    """A, from voxels to slices along the last axis, of both with one field of view.

    Args:
        slices: how many.
        spacing_mm: distance of their centres.
        thickness_mm: full width at half maximum of their profile.
        voxel_mm: about how large voxels are; they are made to fit the field of view.
        profile: ``gaussian``, ``rect``, ``slr`` or ``kspace``.

    Raises:
        ValueError: for an unknown profile.
        InputError: for a width that is none.
    """
    shape = load_profile(ProfileConfig(kind=profile), thickness_mm)
    grid = make_grid(slices, spacing_mm, voxel_mm, shape.half_support_mm)
    return ThroughPlaneOperator(shape, grid, "edge")


def _as_file(image: Image, path: Path) -> Path:
    """The file of an image, written to ``path`` where it is in memory.

    Raises:
        InputError: for what is no image.
    """
    if isinstance(image, str | Path):
        return Path(image)
    if isinstance(image, SpatialImage):
        nib.save(image, path)
        return path
    if isinstance(image, tuple) and len(image) == 2:
        data, affine = (np.asarray(part) for part in image)
        if affine.shape == (4, 4):
            wide = data.astype(np.float32) if data.dtype.kind in "iub" or data.dtype.itemsize > 4 else data
            nib.save(nib.Nifti1Image(wide, affine.astype(float)), path)
            return path
    raise InputError(
        f"an image is a path, a nibabel image, or an array and its (4, 4) affine; {type(image).__name__} was given."
    )


def _in_memory(path: Path) -> nib.Nifti1Image:
    """An image that no longer needs its file."""
    image = nib.Nifti1Image.from_filename(path)
    return nib.Nifti1Image(np.asarray(image.dataobj), image.affine, image.header)


def _words(options: Mapping[str, Any]) -> list[str]:
    """Keys and values as overrides of a configuration; dictionaries are those of a group."""
    words = []
    for key, value in options.items():
        if isinstance(value, Mapping):
            words += [f"{key}.{word}" for word in _words(value)]
        else:
            words.append(f"{key}={_value(value)}")
    return words


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_value, value))}]"
    return quote(value) if isinstance(value, str) else str(value)
