"""Pixels finer than the prior knows: averages and centres, and a result that is exact on the acquired pixels."""

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch

from fine_scans import filled_with_zeros
from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.scan.pixels import PixelGrid, coarsen, resolved_mm
from focvs.scan.scan import read_scan
from scans import write_scan


@pytest.mark.parametrize(
    ("sizes", "spacing", "known", "factors"),
    [
        ((0.4, 0.4), 5.0, (0.59, 1.4), (2, 2)),
        ((0.5, 0.5), 5.0, (0.59, 1.4), (1, 1)),  # hardly finer than what the prior knows
        ((0.16, 0.55), 5.0, (0.59, 1.4), (3, 1)),
        ((0.45, 0.45), 1.0, (0.59, 1.4), (1, 1)),  # slices too thin for coarser pixels
        ((0.7, 0.7), 5.0, (0.95, 1.05), (1, 1)),  # twice would be coarser than the prior knows
        ((0.5, 0.5), 5.0, (0.95, 1.05), (2, 2)),
        ((0.2, 0.2), 5.0, None, (1, 1)),
    ],
)
def test_pixels_are_averaged_just_enough(fine_scan, sizes, spacing, known, factors):
    scan = read_scan(fine_scan)
    affine = np.diag([*sizes, spacing, 1.0])
    grid = PixelGrid.for_range(replace(scan, affine=affine), spacing, known)
    assert grid.factors == factors
    assert grid.trivial == (factors == (1, 1))


def test_a_scan_on_twice_its_matrix_is_worked_at_its_own_resolution(tmp_path):
    slices = simulate_slices(1000 * head_phantom((112, 128, 96), seed=3)[1], 1.0, gaussian_profile(4.0), 4.0)
    both = filled_with_zeros(filled_with_zeros(slices, 0, 0.5), 1, 0.5).astype(np.float32)
    scan = read_scan(write_scan(tmp_path / "scan.nii.gz", both, np.diag([0.6, 0.6, 4.0, 1.0])))
    assert PixelGrid.for_range(scan, 4.0, (0.59, 1.4)).factors == (2, 2)
    assert resolved_mm(scan) == pytest.approx((1.2, 1.2), rel=0.05)


def test_a_ramp_stays_where_it_is():
    """Averaged and upsampled again a plane is itself, away from the edges that are padded."""
    grid = PixelGrid((2, 3), (21, 32))
    ramp = (3.0 * torch.arange(21)[:, None] + 0.5 * torch.arange(32))[..., None].expand(-1, -1, 4)
    coarse = grid.average(ramp)
    assert coarse.shape == (11, 11, 4)
    again = grid.upsample(coarse.numpy())
    assert again.shape == ramp.shape
    inside = (slice(8, -9), slice(8, -9))
    assert np.allclose(again[inside], ramp[inside], atol=0.02)


def test_the_working_scan_covers_the_same_place(fine_scan):
    scan = read_scan(fine_scan)
    coarse = coarsen(scan, PixelGrid((2, 2), scan.data.shape[:2]))
    assert coarse.in_plane_mm == pytest.approx((0.8, 0.8)) and coarse.data.shape == (28, 32, scan.data.shape[2])
    first = nib.affines.apply_affine(scan.affine, [[0, 0, 0], [1, 1, 0]]).mean(0)
    assert nib.affines.apply_affine(coarse.affine, [0, 0, 0]) == pytest.approx(first)
    assert np.allclose(coarse.data[3, 5], scan.data[6:8, 10:12].mean((0, 1)), rtol=1e-5)
    assert "finer than the prior knows" in coarse.warnings[-1]
