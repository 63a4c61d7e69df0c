import itertools
import json

import numpy as np
import pytest
import torch
from scipy import ndimage

from focvs.acquisition.interpolation import spline_matrix
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.pipeline import super_resolve
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.reconciliation import Reconciliation
from focvs.reconstruction.stacks import open_stacks
from focvs.scan.scan import read_scan
from scans import write_scan
from stacked import THICK, VOXEL, centred, settings


def test_overlapping_slices_of_a_further_stack_are_not_held_to_exactly(tmp_path, axial, stack_head, tiny_prior):
    slices = simulate_slices(np.moveaxis(stack_head, 0, -1), VOXEL, gaussian_profile(5.0), 2.4)
    slices = np.moveaxis(slices, -1, 0)
    overlapping = write_scan(tmp_path / "s.nii.gz", slices, centred(slices.shape, np.diag([2.4, VOXEL, VOXEL])))
    (tmp_path / "s.json").write_text('{"SliceThickness": 5.0}')
    config = settings(axial, [overlapping], tmp_path / "out", tiny_prior, "align=headers", "consistency=ddnm")
    config.thickness = None
    report = json.loads(super_resolve(config)["json"].read_text())
    assert report["consistency"]["rule"] == "calibrated"
    assert any(warning.startswith("s.nii.gz: its slices overlap") for warning in report["warnings"])
    assert report["consistency"]["relative_residual"] <= 1e-5  # of the first, whose slices do not


@pytest.mark.parametrize("pixel", [0.9, 1.0, 1.7, 2.5])
def test_rounds_bring_other_pixel_sizes_nearer(tmp_path, axial, stack_head, tiny_prior, pixel):
    """Pixels finer and coarser than the voxels of 1.2 mm, in no whole ratio."""
    factor = VOXEL / pixel
    other = ndimage.zoom(stack_head, (1, factor, factor), order=1, mode="nearest", grid_mode=True)
    slices = np.moveaxis(simulate_slices(np.moveaxis(other, 0, -1), VOXEL, gaussian_profile(THICK), THICK), -1, 0)
    pixels = [stack_head.shape[k] * VOXEL / other.shape[k] for k in (1, 2)]
    path = write_scan(tmp_path / "s.nii.gz", slices, centred(slices.shape, np.diag([THICK, *pixels])))
    scan = read_scan(axial)
    config = settings(axial, [path], tmp_path, tiny_prior, "align=headers", "voxel=1.2")
    acquisition = model_acquisition(scan, config)
    (stack,) = open_stacks(config, scan, acquisition)
    together = Reconciliation([stack], scan, acquisition)
    whole = torch.from_numpy(scan.data) @ spline_matrix(acquisition.grid, margins=False).float().T
    operator, left = together.operators[0], []
    for _ in range(6):
        residual = operator.residual(whole, stack.slices)
        left.append(float(residual.square().mean()))
        whole = whole + operator.back(stack.acquisition.sampled.pseudo_inverse(residual))
    assert all(b <= a for a, b in itertools.pairwise(left))
    assert left[-1] < 0.4 * left[0]
