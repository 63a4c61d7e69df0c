"""The through-plane operator: where its slices look, what they see, and how they overlap."""

import pytest
import torch

from acquisition_cases import WEDGE, through_plane
from focvs.acquisition.grid import ThroughPlaneGrid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import make_profile, sampled_profile


@pytest.mark.parametrize("kind", ["gaussian", "rect", "slr", "kspace", "wedge"])
@pytest.mark.parametrize(("gap", "slices", "ends"), [(0.0, 12, "margin"), (1.2, 13, "edge"), (-1.3, 12, "edge")])
def test_a_flipped_volume_gives_the_flipped_scan(kind, gap, slices, ends):
    """For a profile without symmetry, through the flipped profile."""
    operator = through_plane(kind, 5.0, gap, 0.857, slices, ends)
    x = torch.randn(3, operator.matrix.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    profile = operator.profile
    if kind == "wedge":
        profile = sampled_profile(torch.stack([-WEDGE[:, 0].flip(0), WEDGE[:, 1].flip(0)], 1))
    flipped = ThroughPlaneOperator(profile, operator.grid, operator.ends)
    assert torch.allclose(flipped(x.flip(-1)), operator(x).flip(-1), atol=1e-10)


def test_a_row_is_the_integral_of_the_profile_over_each_voxel():
    """Of a slice in the middle, by a fine sum that shares nothing with the cumulative profile."""
    operator = through_plane("gaussian", 4.0, 1.0, 1.0, 9, "margin")
    fine = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
    sigma = 4.0 / 2.3548200450309493
    density = torch.exp(-0.5 * (fine / sigma) ** 2)
    voxel = torch.bucketize(fine, operator.grid.voxel_edges_mm) - 1
    inside = (voxel >= 0) & (voxel < operator.matrix.shape[1])
    row = torch.zeros(operator.matrix.shape[1], dtype=torch.float64)
    row.index_add_(0, voxel[inside], density[inside])
    assert torch.allclose(operator.matrix[4], row / row.sum(), atol=5e-5)


@pytest.mark.parametrize("ends", ["margin", "edge"])
def test_no_row_loses_weight(ends):
    """A row that summed to 0.8 would darken the end slices."""
    operator = through_plane("gaussian", 5.0, -1.3, 1.0, 12, ends)
    assert torch.allclose(operator.matrix.sum(1), torch.ones(12, dtype=torch.float64), atol=1e-12)
    assert (operator.matrix >= 0).all()


def test_slices_see_the_right_place():
    operator = through_plane("gaussian", 4.0, 1.2, 0.9, 15, "margin")
    edges = operator.grid.voxel_edges_mm
    ramp = (edges[1:] + edges[:-1]) / 2  # z in mm, so A z = slice centres
    assert torch.allclose(operator(ramp), operator.grid.slice_centres_mm, atol=2e-3)


def test_margins_only_where_the_profile_reaches_out():
    assert through_plane("rect", 4.0, 0.0, 1.0, 10, "margin").grid.margin == 0
    assert through_plane("rect", 4.0, -1.0, 1.0, 10, "margin").grid.margin == 1
    gaussian = through_plane("gaussian", 4.0, 0.0, 1.0, 10, "margin")
    assert gaussian.grid.margin == 5
    assert gaussian.matrix.shape == (10, 50)
    assert through_plane("gaussian", 4.0, 0.0, 1.0, 10, "edge").matrix.shape == (10, 40)


def test_condition_numbers_say_when_slices_overlap():
    assert through_plane("gaussian", 4.0, 0.0, 1.0, 24, "edge").condition_number < 2
    assert through_plane("gaussian", 4.0, 1.2, 1.0, 24, "edge").condition_number < 1.5
    assert through_plane("gaussian", 5.0, -2.5, 1.0, 24, "edge").condition_number > 10


def test_float32_stays_float32_and_repr_speaks_of_millimetres():
    operator = through_plane("gaussian", 4.0, 1.2, 1.0, 8, "margin")
    assert operator(torch.ones(3, operator.matrix.shape[1])).dtype == torch.float32
    assert "4 mm every 5.2 mm" in repr(operator)
    assert "4 mm" in repr(operator.profile)


def test_voxels_that_miss_slices_are_refused():
    with pytest.raises(ValueError, match="cover"):
        ThroughPlaneOperator(make_profile("rect", 1.0), ThroughPlaneGrid(9, 8.0, 4, 1.0))
