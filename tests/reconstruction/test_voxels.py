import numpy as np
import torch

from focvs.acquisition.grid import make_grid
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.voxels import blank_voxels, left_below_zero, volume_mask, voxel_window
from focvs.scan.scan import read_scan
from runs import settings


def test_blank_voxels_are_far_from_every_slice_that_is_not_zero():
    grid = make_grid(10, 4.0, 1.0, keep_extent=False)
    scan = torch.ones(1, 1, 10)
    scan[..., :6] = 0
    expected = torch.zeros(40, dtype=torch.bool)
    expected[: 4 * 4] = True  # slices 0 to 3: two zero slices on both sides, or the end
    assert torch.equal(blank_voxels(scan, grid)[0, 0], expected)


def test_window_and_mask(thick_scan, tiny_prior):
    scan = read_scan(thick_scan)
    acquisition = model_acquisition(scan, settings(thick_scan, None, tiny_prior, "thickness=5"))
    grid = acquisition.grid
    window = voxel_window(grid, slice(2, 10))
    assert (window.start - grid.margin, window.stop - grid.margin) == (10, 50)
    assert voxel_window(grid, slice(0, 12)) == slice(0, grid.total)
    mask = torch.zeros(9, 9, 12, dtype=torch.bool)
    mask[4, 4, 3] = mask[4, 4, 6] = True
    wide = volume_mask(mask, grid)
    assert wide.shape == (9, 9, grid.total)
    assert wide[4, 4, grid.margin + 10 : grid.margin + 40].all()  # slices 2 to 7, the hole between filled
    assert not wide[4, 4, grid.margin + 42 :].any()
    assert wide[2, 6, grid.margin + 17]
    assert not wide[1, 4].any()


def test_a_few_voxels_just_below_zero_are_not_worth_a_warning(thick_scan):
    scan = read_scan(thick_scan)
    volume = np.zeros((50, 50, 40))
    volume[0, 0, :10] = -0.01 * scan.units.white
    assert left_below_zero(volume, scan) == []
    volume[0, :20] = -0.01 * scan.units.white
    (said,) = left_below_zero(volume, scan)
    assert said.startswith("0.8 % of the voxels are below zero by more than 0.5 % of white, by up to 1 %")
    volume[:] = 0
    volume[0, 0, 0] = -0.05 * scan.units.white
    assert "by up to 5 %" in left_below_zero(volume, scan)[0]
