"""Volumes as 8-bit mosaics of slices that a web page carries inside itself."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from focvs.report.views import View, few_of, middle_of, plane

MOST_VOXELS = 9_000_000  # of a volume as it is shown; larger ones are averaged
QUALITY = 92  # of JPEG
BLOCK = 8  # pixels of a block of JPEG, so that no block holds two slices
CODED_PERCENTILE = 99.9  # of a volume, coded as 255


@dataclass(frozen=True, eq=False)
class Volume:
    """A volume to be shown.

    Attributes:
        data: ``(p, q, n)``.
        low: value coded as 0.
        high: value coded as 255.
        window: values shown as black and white at first.
        nearest: ``(n,)`` which of the slices of ``data`` each voxel shows, where they are fewer; else None.
        deviation: whether it is a standard deviation, shown in colours.
        group: those of one unit, which are shown in one window.
    """

    data: np.ndarray
    low: float
    high: float
    window: tuple[float, float]
    nearest: np.ndarray | None = None
    deviation: bool = False
    group: str = ""


def coded(data: np.ndarray, window: tuple[float, float], nearest: np.ndarray | None = None) -> Volume:
    """A volume whose codes reach from its window's black, or its 0.1 % lowest, to its 0.1 % highest."""
    low, high = (float(v) for v in np.percentile(few_of(data), (100 - CODED_PERCENTILE, CODED_PERCENTILE)))
    return Volume(data, min(low, window[0]), max(high, window[1]), window, nearest, False)


def describe_volumes(
    volumes: Mapping[str, Volume], main: str, affine: np.ndarray, box: tuple[slice, ...]
) -> dict[str, Any]:
    """What the viewer of the page needs: shape, voxel sizes, affine and a mosaic of each volume, as JSON takes it.

    Mosaics have a tile for every slice along the last axis of ``data``, all turned so that axes point right, to the
    front and up (:class:`focvs.report.views.View`), row by row from the lowest; edges are padded to whole blocks.

    Args:
        volumes: by name, on one grid.
        main: name of the one that is shown at first, the cursor in its middle.
        affine: ``(4, 4)`` voxel-to-world of that grid, mm.
        box: the part of the grid that is shown, a slice along each axis.
    """
    shape = tuple(side.stop - side.start for side in box)
    affine = affine.copy()
    affine[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    factor = max(1, math.ceil((math.prod(shape) / MOST_VOXELS) ** (1 / 3)))
    small = tuple(max(1, n // factor) for n in shape)
    affine[:3, 3] += affine[:3, :3] @ np.full(3, (factor - 1) / 2)
    affine[:3, :3] *= factor
    view = View(affine)
    with ThreadPoolExecutor() as pool:  # NumPy and Pillow leave other cores to others
        described = list(pool.map(lambda name: _layer(name, volumes[name], view, box, factor, small[2]), volumes))
    layers = [layer for layer, _ in described]
    shown, turned = volumes[main], dict(zip(volumes, described, strict=True))[main][1]
    cursor = middle_of(turned, 255 * (shown.window[1] - shown.low) / (shown.high - shown.low))
    return {
        "shape": [small[view.source_of(a)] for a in range(3)],
        "zooms": [float(z) for z in view.zooms_mm],
        "affine": view.turned_affine(small).tolist(),
        "axis": view.axis_of(2),
        "main": main,
        "averaged": factor,
        "cursor": [int(c) for c in cursor],
        "layers": layers,
    }


def _layer(
    name: str, volume: Volume, view: View, box: tuple[slice, ...], factor: int, count: int
) -> tuple[dict[str, Any], np.ndarray]:
    """A volume as JSON takes it, and its turned codes; ``count`` voxels along the slice axis."""
    tiles = np.arange(count)
    data = volume.data[box[0], box[1]]
    if volume.nearest is None:
        data = averaged(data[..., box[2]], factor, 3)
    else:
        data = averaged(data, factor, 2)
        tiles = volume.nearest[box[2]][factor // 2 :: factor][:count]
    turned = view(codes(data, volume.low, volume.high))
    uri, tile, columns = mosaic(turned, view.axis_of(2))
    if view.flipped(2):
        tiles = (data.shape[2] - 1 - tiles)[::-1]
    layer = {
        "name": name,
        "deviation": volume.deviation,
        "group": volume.group,
        "low": volume.low,
        "high": volume.high,
        "window": volume.window,
        "tiles": [int(k) for k in tiles],
        "tile": tile,
        "columns": columns,
        "uri": uri,
    }
    return layer, turned


def codes(data: np.ndarray, low: float, high: float) -> np.ndarray:
    """Values as whole numbers from 0, ``low`` and below, to 255, ``high`` and above."""
    return np.rint((data - np.float32(low)) * np.float32(255 / (high - low))).clip(0, 255).astype(np.uint8)


def averaged(data: np.ndarray, factor: int, axes: int) -> np.ndarray:
    """Means of blocks of ``factor`` voxels along each of the first ``axes`` axes; what is left over is cut off."""
    if factor == 1:
        return data
    for axis in range(axes):
        n = data.shape[axis] // factor
        whole = np.moveaxis(data, axis, 0)[: n * factor]
        data = np.moveaxis(whole.reshape(n, factor, *whole.shape[1:]).mean(1), 0, axis)
    return data


def mosaic(turned: np.ndarray, axis: int) -> tuple[str, list[int], int]:
    """The slices of a turned volume of codes along an axis as one JPEG.

    Returns:
        A data URI, width and height of a tile, and tiles in a row.
    """
    count = turned.shape[axis]
    first = plane(turned, axis, 0)
    height, width = (math.ceil(n / BLOCK) * BLOCK for n in first.shape)
    columns = math.ceil(math.sqrt(count * height / width))
    canvas = np.zeros((math.ceil(count / columns) * height, columns * width), dtype=np.uint8)
    padding = [(0, height - first.shape[0]), (0, width - first.shape[1])]
    for k in range(count):
        row, column = divmod(k, columns)
        tile = np.pad(plane(turned, axis, k), padding, mode="edge")
        canvas[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
    stream = io.BytesIO()
    Image.fromarray(canvas).save(stream, format="JPEG", quality=QUALITY)
    return data_uri(stream.getvalue(), "image/jpeg"), [width, height], columns


def data_uri(content: bytes, kind: str) -> str:
    """A file as a URI that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
