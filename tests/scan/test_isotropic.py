import numpy as np
import pytest

from focvs.errors import InputError
from focvs.scan.isotropic import FWHM, IsotropicGrid

AFFINE = np.array([[0.0, -0.5, 0.0, 20.0], [0.5, 0.0, 0.0, -10.0], [0.0, 0.0, 1.2, 5.0], [0, 0, 0, 1]])


def blob(shape, affine, centre_mm, width_mm):
    places = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    return np.exp(-((places - centre_mm) ** 2).sum(-1) / 2 / width_mm**2).astype(np.float32)


@pytest.mark.parametrize("voxel_mm", [1.0, 2.0, 0.7])
def test_what_is_written_lies_where_it_lay(voxel_mm):
    shape, centre = (60, 64, 30), AFFINE[:3, :3] @ [31.0, 30.0, 16.0] + AFFINE[:3, 3]
    volume = blob(shape, AFFINE, centre, 4.0)
    grid = IsotropicGrid.of(shape, AFFINE, voxel_mm)
    out = grid(volume)
    assert np.linalg.norm(grid.affine[:3, :3], axis=0) == pytest.approx([voxel_mm] * 3)
    middles = [affine[:3] @ [*((np.array(s) - 1) / 2), 1] for affine, s in ((AFFINE, shape), (grid.affine, out.shape))]
    assert middles[0] == pytest.approx(middles[1])  # one centre
    places = np.moveaxis(np.indices(out.shape), 0, -1) @ grid.affine[:3, :3].T + grid.affine[:3, 3]
    assert (places * out[..., None]).sum((0, 1, 2)) / out.sum() == pytest.approx(centre, abs=0.02)


def test_detail_finer_than_its_voxels_is_averaged_and_a_constant_stays():
    shape = (64, 64, 32)
    stripes = np.where(np.indices(shape)[0] % 2, 1.0, -1.0).astype(np.float32)
    grid = IsotropicGrid.of(shape, AFFINE, 2.0)
    assert np.abs(grid(stripes)[2:-2]).max() < 0.01  # sampled without a filter they would be +-1
    assert np.allclose(grid(np.full(shape, 7.0, np.float32)), 7.0, atol=1e-4)
    assert pytest.approx(2.3548, abs=1e-4) == FWHM


@pytest.mark.parametrize("voxel_mm", [40.0, 0.001])
def test_sizes_that_cannot_be_are_refused(voxel_mm):
    with pytest.raises(InputError, match="isotropic="):
        IsotropicGrid.of((64, 64, 32), AFFINE, voxel_mm)
