"""The training cache: one compact file of the volumes that patches are drawn from."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import torch

from focvs.scan.head import bounding_box
from focvs.scan.units import white_level
from focvs.training.synthesis import label_family

WHITE_LEVEL = 120  # the uint8 value of the 99.5th percentile in the cache: steps of 0.8 % keep it compact
FINEST_STACK_MM = 0.7  # finer in-plane voxels are averaged to about this size to keep the cache compact

# acquired voxel size, by the start of the name, of volumes stored on finer voxels: those would teach a prior to blur
ACQUIRED_MM = {"ds011_": 1.2}


@dataclass(frozen=True)
class CachedVolume:
    """One training volume.

    Attributes:
        name: stem of its file.
        group: isotropic, isotropic_stripped, thick (slice axis last) or labels.
        data: uint8 voxels, intensity (:data:`WHITE_LEVEL` is the 99.5th percentile) or label index.
        voxel_mm: voxel sizes.
        families: of the labels, see :func:`focvs.training.synthesis.label_family`.
    """

    name: str
    group: str
    data: np.ndarray
    voxel_mm: tuple[float, float, float]
    families: np.ndarray | None = None

    @property
    def finest_mm(self) -> float:
        """The finest voxels it may be resampled to: not finer than it was acquired (:data:`ACQUIRED_MM`), or 0."""
        return next((mm for prefix, mm in ACQUIRED_MM.items() if self.name.startswith(prefix)), 0.0)


def build_cache(data_dir: Path, out: Path, exclude: tuple[str, ...] = (), label_maps: int = 20) -> list[str]:
    """Write the compact training cache from a folder laid out as ``isotropic/``, ``thick/``, ``labels/`` ...

    Args:
        data_dir: folder of the groups, NIfTI files inside.
        out: the ``.npz`` to write (LZMA inside; a few tens of MiB).
        exclude: file stems kept out, as the validation split.
        label_maps: how many label maps to take.

    Returns:
        The names that went in.

    Raises:
        FileNotFoundError: if no group holds a NIfTI file.
    """
    arrays: dict[str, np.ndarray] = {}
    entries: list[dict[str, Any]] = []
    for group in ("isotropic", "isotropic_stripped", "thick", "labels"):
        paths = sorted((data_dir / group).glob("*.nii*"))
        for path in paths[:label_maps] if group == "labels" else paths:
            name = path.name.split(".")[0]
            if name in exclude:
                continue
            volume = load_volume(path, group)
            arrays[name] = volume.data
            if volume.families is not None:
                arrays[name + "/families"] = volume.families
            entries.append({"name": name, "group": group, "voxel_mm": list(volume.voxel_mm)})
    if not entries:
        raise FileNotFoundError(f"{data_dir} holds no NIfTI files in isotropic/, thick/ or labels/.")
    arrays["entries"] = np.frombuffer(json.dumps(entries).encode(), dtype=np.uint8)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_suffix(".part")
    with zipfile.ZipFile(temporary, "w", compression=zipfile.ZIP_LZMA) as archive:
        for key, array in arrays.items():
            with archive.open(key + ".npy", "w") as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
    temporary.rename(out)
    return [e["name"] for e in entries]


def load_cache(path: Path, kept_out: tuple[str, ...] = ()) -> list[CachedVolume]:
    """Read what :func:`build_cache` wrote.

    Raises:
        ValueError: if it holds something of ``kept_out``.
    """
    with np.load(path, allow_pickle=False) as archive:
        entries = json.loads(archive["entries"].tobytes())
        if wrong := sorted({e["name"] for e in entries} & set(kept_out)):
            raise ValueError(
                f"{path} holds {', '.join(wrong)}, to be kept out of training; give another cache, or remove it and it "
                "is made anew."
            )
        return [
            CachedVolume(
                e["name"],
                e["group"],
                archive[e["name"]],
                tuple(e["voxel_mm"]),
                archive[e["name"] + "/families"] if e["group"] == "labels" else None,
            )
            for e in entries
        ]


def load_volume(path: Path, group: str) -> CachedVolume:
    """One file of a group as the cache holds it."""
    name = path.name.split(".")[0]
    return _load_labels(path, name) if group == "labels" else _load_image(path, name, group)


def _load_image(path: Path, name: str, group: str) -> CachedVolume:
    image = nib.as_closest_canonical(nib.load(path))
    data = np.asarray(image.dataobj, dtype=np.float32)
    voxel_mm = np.array(image.header.get_zooms()[:3], dtype=float)
    data /= white_level(data)
    if group == "thick":
        data, voxel_mm = _slice_axis_last(data, voxel_mm)
        factor = FINEST_STACK_MM / voxel_mm[:2]
        if factor.max() > 1.08:
            shape = [round(s / max(f, 1.0)) for s, f in zip(data.shape[:2], factor, strict=True)]
            old = data.shape[:2]
            stack = torch.from_numpy(np.moveaxis(data, -1, 0).copy())[:, None]
            stack = torch.nn.functional.interpolate(stack, size=shape, mode="bicubic", antialias=True)
            data = np.moveaxis(stack[:, 0].numpy(), 0, -1)
            voxel_mm[:2] *= np.array(old) / np.array(shape)
    cut = bounding_box(data > 0.1, margin=6)
    packed = np.clip(np.rint(data[cut] * WHITE_LEVEL), 0, 255).astype(np.uint8)
    return CachedVolume(name, group, packed, (float(voxel_mm[0]), float(voxel_mm[1]), float(voxel_mm[2])))


def _load_labels(path: Path, name: str) -> CachedVolume:
    image = nib.as_closest_canonical(nib.load(path))
    data = np.asarray(image.dataobj).astype(np.int32)
    ids, index = np.unique(data, return_inverse=True)
    index = index.reshape(data.shape).astype(np.uint8)
    cut = bounding_box(data > 0, margin=6)
    families = np.array([label_family(int(i)) for i in ids], dtype=np.int32)
    x_mm, y_mm, z_mm = map(float, image.header.get_zooms()[:3])
    return CachedVolume(name, "labels", index[cut], (x_mm, y_mm, z_mm), families)


def _slice_axis_last(data: np.ndarray, voxel_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    axis = int(np.argmax(voxel_mm))
    return np.moveaxis(data, axis, -1), np.append(np.delete(voxel_mm, axis), voxel_mm[axis])
