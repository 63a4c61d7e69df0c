from dataclasses import replace

import pytest

from focvs.errors import InputError
from focvs.reconstruction.forward_model import model_acquisition, slice_spacing
from focvs.scan.scan import read_scan
from runs import settings


def modelled(scan, *words):
    return model_acquisition(scan, settings("x.nii.gz", None, "unused", *words))


def test_voxels_are_as_long_as_they_are_wide(thick_scan):
    scan = read_scan(thick_scan)
    grid = modelled(scan, "thickness=5").grid
    assert grid.voxel_mm == pytest.approx(1.2) and grid.voxels == 60
    assert modelled(scan, "thickness=5", "voxel=0.9").grid.voxel_mm == 0.9
    finer = replace(scan, affine=scan.affine.copy())
    finer.affine[:3, 0] *= 0.5
    assert modelled(finer, "thickness=5").grid.voxel_mm == pytest.approx(0.6)


def test_the_spacing_can_be_put_right(thick_scan):
    scan = read_scan(thick_scan)
    assert slice_spacing(scan, None) == pytest.approx(6.0)
    assert modelled(scan, "thickness=5", "spacing=6.5").grid.spacing_mm == 6.5
    for wrong in (0.0, -2.0, float("inf")):
        with pytest.raises(InputError, match="must be above 0"):
            slice_spacing(scan, wrong)


@pytest.mark.parametrize("voxel", [0.0, 6.0, 7.5])
def test_voxels_must_be_thinner_than_slices(thick_scan, voxel):
    with pytest.raises(InputError, match="below the slice spacing"):
        modelled(read_scan(thick_scan), "thickness=5", f"voxel={voxel}")
