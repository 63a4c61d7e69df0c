"""Where slices and voxels lie, and the affine that says so."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from focvs.acquisition.grid import make_grid, plane_distance_mm

OBLIQUE = np.array([[0.9, 0.1, -0.3, 4.0], [-0.05, 1.1, 0.4, -7.0], [0.2, -0.3, 1.3, 11.0], [0, 0, 0, 1]])
SIZES = {"slices": st.integers(2, 80), "spacing": st.floats(1.0, 12.0), "voxel": st.floats(0.3, 2.0)}


@given(**SIZES)
def test_edges_of_the_fields_of_view_coincide(slices, spacing, voxel):
    grid = make_grid(slices, spacing, voxel, 1.5 * spacing)
    edges = grid.voxel_edges_mm
    inner = edges[grid.margin], edges[grid.margin + grid.voxels]
    assert float(inner[1] - inner[0]) == pytest.approx(slices * spacing, rel=1e-9)
    assert float(inner[0] + inner[1]) == pytest.approx(0, abs=1e-9)
    assert abs(grid.voxel_mm - voxel) <= voxel * voxel / (slices * spacing) + 1e-9  # off by half a voxel in all
    reach = (slices - 1) / 2 * spacing + 1.5 * spacing
    assert float(edges[-1]) >= reach - 1e-6 or grid.margin == 0


@given(**SIZES)
def test_a_given_voxel_size_is_honoured_and_centred(slices, spacing, voxel):
    grid = make_grid(slices, spacing, voxel, keep_extent=False)
    assert grid.voxel_mm == voxel
    assert abs(grid.voxels * voxel - slices * spacing) <= voxel / 2 + 1e-9 or grid.voxels == 1
    assert float(grid.voxel_edges_mm.sum()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("affine", [np.diag([1.0, -1.0, 1.0, 1.0]), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("slices", [12, 13])
def test_the_affine_keeps_the_field_of_view(affine, slices):
    affine = affine.copy()
    affine[:3, 2] *= 5.0 / plane_distance_mm(affine)
    grid = make_grid(slices, 5.0, 0.9)
    out = grid.affine(affine)
    for slice_edge, voxel_edge in ((-0.5, -0.5), (slices - 0.5, grid.voxels - 0.5)):
        assert np.allclose(affine @ [3.0, 4.0, slice_edge, 1.0], out @ [3.0, 4.0, voxel_edge, 1.0], atol=1e-6)
    assert np.array_equal(out[:3, :2], affine[:3, :2])


@pytest.mark.parametrize("degrees", [0.0, 0.7, 18.5, 31.2])
def test_planes_of_a_sheared_stack_are_as_far_apart_as_their_normal_says(degrees):
    affine = np.diag([1.2, 1.2, 5.0, 1.0])
    affine[1, 2] = 5 * np.tan(np.deg2rad(degrees))
    assert plane_distance_mm(affine) == pytest.approx(5.0)
    assert np.linalg.norm(affine[:3, 2]) >= 5.0


def test_a_shift_moves_slices_against_voxels():
    straight, shifted = (make_grid(10, 4.0, 1.0, 2.0, keep_extent=False, shift_mm=s) for s in (0.0, 1.5))
    moved = shifted.slice_centres_mm - straight.slice_centres_mm
    assert moved.tolist() == pytest.approx([1.5] * 10)
    assert float(shifted.voxel_edges_mm[-1]) >= float(shifted.slice_centres_mm[-1]) + 2.0
    middle = shifted.voxel_places[shifted.total // 2] - straight.voxel_places[straight.total // 2]
    assert float(middle) == pytest.approx(-1.5 / 4.0)
    affine = np.diag([1.0, 1.0, 4.0, 1.0])
    assert shifted.affine(affine)[2, 3] == pytest.approx(straight.affine(affine)[2, 3] - 1.5)


def test_impossible_grids_are_refused():
    with pytest.raises(ValueError, match="above 0"):
        make_grid(0, 4.0, 1.0)
    with pytest.raises(ValueError, match="above 0"):
        make_grid(4, 4.0, -1.0)
