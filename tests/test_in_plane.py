"""Pixels finer than the prior knows: averages and centres, and a result that is exact on the acquired pixels."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import write_scan
from omegaconf import OmegaConf

from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.cli import compose, quote
from focvs.in_plane import PixelGrid, coarsen
from focvs.pipeline import super_resolve
from focvs.volume import read_scan

PIXEL = 0.4


@pytest.fixture
def fine_scan(tmp_path, phantom):
    """Axial, 0.4 x 0.4 mm, 55 x 63 pixels, 2 mm slices every 2.4 mm."""
    slices = simulate_slices(1000 * phantom[1][:55, :63], PIXEL, gaussian_profile(2.0), 2.4)
    affine = np.diag([-PIXEL, PIXEL, 2.4, 1.0])
    affine[:3, 3] = (11.0, -12.0, -13.0)
    return write_scan(tmp_path / "scan.nii.gz", slices, affine)


@pytest.mark.parametrize(
    ("sizes", "finest", "factors"),
    [((0.4, 0.4), 0.59, (2, 2)), ((0.9, 0.9), 0.59, (1, 1)), ((0.16, 0.55), 0.59, (4, 1)), ((0.2, 0.2), None, (1, 1))],
)
def test_pixels_are_averaged_just_enough(fine_scan, sizes, finest, factors):
    scan = read_scan(fine_scan)
    scan = type(scan)(**{**scan.__dict__, "in_plane_mm": sizes})
    grid = PixelGrid.for_range(scan, None if finest is None else (finest, 1.4))
    assert grid.factors == factors
    assert grid.trivial == (factors == (1, 1))


def test_a_ramp_stays_where_it_is():
    """Averaged and spread again a plane is itself, away from the edges that are padded."""
    grid = PixelGrid((2, 3), (21, 32))
    ramp = (3.0 * torch.arange(21)[:, None] + 0.5 * torch.arange(32))[..., None].expand(-1, -1, 4)
    coarse = grid.average(ramp)
    assert coarse.shape == (11, 11, 4)
    for order, edge in ((1, 3), (3, 8)):
        again = grid.spread(coarse.numpy(), order)
        assert again.shape == ramp.shape
        inside = (slice(edge, -edge - 1), slice(edge, -edge - 1))
        assert np.allclose(again[inside], ramp[inside], atol=0.02)


def test_the_working_scan_covers_the_same_place(fine_scan):
    scan = read_scan(fine_scan)
    coarse = coarsen(scan, PixelGrid((2, 2), scan.data.shape[:2]))
    assert coarse.in_plane_mm == pytest.approx((0.8, 0.8)) and coarse.data.shape == (28, 32, scan.data.shape[2])
    first = nib.affines.apply_affine(scan.affine, [[0, 0, 0], [1, 1, 0]]).mean(0)
    assert nib.affines.apply_affine(coarse.affine, [0, 0, 0]) == pytest.approx(first)
    assert np.allclose(coarse.data[3, 5], scan.data[6:8, 10:12].mean((0, 1)), rtol=1e-5)
    assert "finer than the prior knows" in coarse.warnings[-1]


def test_the_result_is_exact_on_the_acquired_pixels(tmp_path, fine_scan, tiny_prior):
    words = [
        f"scan={quote(str(fine_scan))}",
        f"prior.path={quote(str(tiny_prior))}",
        f"output_dir={quote(str(tmp_path))}",
    ]
    words += ["thickness=2", "samples=2", "steps=2", "progress=false", "save_samples=true"]
    paths = super_resolve(OmegaConf.to_object(compose("config", words)))
    report = json.loads(paths["json"].read_text())
    assert report["consistency"]["relative_residual"] <= 1e-5
    assert report["acquisition"]["in_plane_mm"] == pytest.approx([PIXEL, PIXEL])
    assert report["acquisition"]["worked_mm"] == pytest.approx([0.8, 0.8])
    assert any("finer than the prior" in w for w in report["warnings"])
    scan, mean = nib.load(fine_scan), nib.load(paths["mean"])
    assert mean.shape[:2] == scan.shape[:2]
    assert mean.header.get_zooms() == pytest.approx((PIXEL, PIXEL, 0.8), abs=1e-5)
    ends = [nib.affines.apply_affine(image.affine, (np.array(image.shape) - 1) / 2) for image in (scan, mean)]
    assert ends[0] == pytest.approx(ends[1], abs=1e-4)
    images = {name: np.asarray(nib.load(path).dataobj) for name, path in paths.items() if path.name.endswith(".gz")}
    assert all(image.shape == mean.shape for image in images.values())
    samples = np.stack([images["sample-01"], images["sample-02"]])
    assert np.allclose(samples.mean(0), images["mean"], atol=0.02 * images["mean"].max())
    assert (images["q05"] <= images["q95"] + 1e-3).all() and images["std"].min() >= 0
