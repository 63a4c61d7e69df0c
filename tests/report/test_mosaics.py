"""Mosaics hold every slice in its place, whatever way the array lies."""

import base64
import io
import itertools

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from focvs.report.mosaics import MOST_VOXELS, averaged, coded, codes, describe_volumes

SHAPE = (21, 34, 12)
TURNS = [(axes, flips) for axes in itertools.permutations(range(3)) for flips in itertools.product((1, -1), repeat=3)]


@pytest.fixture(scope="module")
def smooth():
    data = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), 3)
    return (100 + 300 * (data - data.min()) / np.ptp(data)).astype(np.float32)


def decoded(described, layer):
    """The volume that the viewer makes of a mosaic, in intensities."""
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(layer["uri"].partition(",")[2]))))
    shape, axis = described["shape"], described["axis"]
    across, up = (a for a in range(3) if a != axis)
    out = np.empty(shape)
    for k, tile in enumerate(layer["tiles"]):
        row, column = divmod(tile, layer["columns"])
        (width, height), index = layer["tile"], [slice(None)] * 3
        index[axis] = k
        part = pixels[row * height :, column * width :][: shape[up], : shape[across]]
        out[tuple(index)] = part.T
    return layer["low"] + out / 255 * (layer["high"] - layer["low"])


@pytest.mark.parametrize(("axes", "flips"), TURNS[::7])
def test_what_the_viewer_shows_is_the_volume_turned(smooth, axes, flips):
    affine = np.eye(4)
    affine[:3, :3] = (np.diag([0.9, 1.1, 2.0]) * flips)[:, axes]
    affine[:3, 3] = 5, 6, 7
    slices, nearest = smooth[..., ::3], np.repeat(np.arange(4), 3)
    window = (0.0, 390.0)
    volumes = {"scan": coded(slices, window, nearest), "ours": coded(smooth, window)}
    box = (slice(2, 20), slice(0, 33), slice(0, 12))
    described = describe_volumes(volumes, "ours", affine, box)
    cut = affine.copy()
    cut[:3, 3] += affine[:3, :3] @ [2, 0, 0]
    for layer, data in zip(described["layers"], (slices[..., nearest], smooth), strict=True):
        canonical = nib.as_closest_canonical(nib.Nifti1Image(data[box], cut))
        np.testing.assert_allclose(described["affine"], canonical.affine, atol=1e-9)
        np.testing.assert_allclose(described["zooms"], canonical.header.get_zooms(), rtol=1e-6)
        seen = canonical.get_fdata().clip(layer["low"], layer["high"])
        assert np.abs(decoded(described, layer) - seen).max() < 0.03 * 300
    assert all(0 <= c < n for c, n in zip(described["cursor"], described["shape"], strict=True))


def test_large_volumes_are_averaged_where_they_lie(smooth, monkeypatch):
    monkeypatch.setattr("focvs.report.mosaics.MOST_VOXELS", smooth.size // 8)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    volumes = {"ours": coded(smooth, (0.0, 390.0)), "scan": coded(smooth[..., ::2], (0.0, 390.0), np.arange(12) // 2)}
    described = describe_volumes(volumes, "ours", affine, tuple(slice(0, n) for n in SHAPE))
    assert described["averaged"] == 2 and described["shape"] == [10, 17, 6] and described["zooms"] == [2, 2, 4]
    assert described["affine"][0][3] == 0.5 and described["affine"][2][3] == 1.0
    assert described["layers"][1]["tiles"] == list(range(6))
    blocks = smooth[:20].reshape(10, 2, 17, 2, 6, 2).mean((1, 3, 5))
    np.testing.assert_allclose(averaged(smooth, 2, 3), blocks, rtol=1e-5)
    assert np.abs(decoded(described, described["layers"][0]) - blocks).max() < 0.05 * 300
    assert MOST_VOXELS > 192 * 224 * 192


def test_codes_reach_from_end_to_end():
    assert codes(np.array([-5.0, 0.0, 5.0, 10.0, 99.0]), 0.0, 10.0).tolist() == [0, 0, 128, 255, 255]
