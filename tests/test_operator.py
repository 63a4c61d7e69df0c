"""Laws of the through-plane operator in float64, over profile x thickness x gap x spacing x parity x axis."""

import itertools

import numpy as np
import pytest
import torch

from focvs.acquisition.grid import ThroughPlaneGrid, make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import make_profile, sampled_profile

TOLERANCE = 1e-10
WEDGE = np.array([[-3.0, 0.2], [-1.0, 1.0], [0.5, 0.9], [3.0, 0.0]])


def build(kind, thickness, gap, voxel, slices, ends):
    profile = sampled_profile(torch.from_numpy(WEDGE)) if kind == "wedge" else make_profile(kind, thickness)
    grid = make_grid(slices, thickness + gap, voxel, profile.half_support_mm)
    return ThroughPlaneOperator(profile, grid, ends)


CASES = list(
    itertools.product(
        ["gaussian", "rect", "slr", "kspace", "wedge"],
        [3.0, 5.0],
        [0.0, 1.2, -1.3],
        [1.0, 0.857],
        [12, 13],
        ["margin", "edge"],
    )
)


@pytest.fixture(params=CASES, ids=lambda c: "-".join(map(str, c)))
def operator(request):
    return build(*request.param)


def volume_of(operator, *lead):
    return torch.randn(*lead, operator.matrix.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def scan_of(operator, *lead):
    return torch.randn(*lead, operator.matrix.shape[0], generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def test_linear(operator):
    x, z = volume_of(operator, 2, 3)
    assert torch.allclose(operator(2 * x - 3 * z), 2 * operator(x) - 3 * operator(z), atol=TOLERANCE)


def test_adjoint(operator):
    x, y = volume_of(operator, 4), scan_of(operator, 4)
    assert float((operator(x) * y).sum()) == pytest.approx(float((x * operator.adjoint(y)).sum()), abs=TOLERANCE)
    x.requires_grad_(True)
    (gradient,) = torch.autograd.grad((operator(x) * y).sum(), x)
    assert torch.allclose(gradient, operator.adjoint(y), atol=TOLERANCE)


def test_pseudo_inverse(operator):
    a, p = operator.matrix, operator.pseudo_inverse_matrix
    assert torch.allclose(a @ p @ a, a, atol=TOLERANCE)
    assert torch.allclose(p @ a @ p, p, atol=TOLERANCE * operator.condition_number**2)
    assert torch.allclose((p @ a).T, p @ a, atol=TOLERANCE * operator.condition_number)


def test_replacement_is_exact_and_touches_only_the_range(operator):
    x, y = volume_of(operator, 5), scan_of(operator, 5)
    out = operator.replace(x, y)
    assert torch.allclose(operator(out), y, atol=TOLERANCE)
    assert torch.allclose(operator.null_space(out), operator.null_space(x), atol=1e-9)
    assert torch.allclose(operator.replace(out, y), out, atol=1e-9)


def test_constant_in_constant_out(operator):
    assert torch.allclose(operator.matrix.sum(1), torch.ones(operator.grid.slices).double(), atol=1e-12)


def test_field_of_view(operator):
    grid = operator.grid
    extent = grid.slices * grid.spacing_mm
    inner = grid.crop(grid.voxel_edges_mm[:-1]), grid.crop(grid.voxel_edges_mm[1:])
    assert float(inner[0][0]) == pytest.approx(-extent / 2, abs=1e-6)
    assert float(inner[1][-1]) == pytest.approx(extent / 2, abs=1e-6)


def test_singular_values(operator):
    u, s, vt = operator.svd
    assert torch.allclose(u @ torch.diag(s) @ vt, operator.matrix, atol=TOLERANCE)
    assert operator.condition_number == pytest.approx(float(torch.linalg.cond(operator.matrix)), rel=1e-9)


def test_flip_equivariance(operator):
    """A flipped volume gives the flipped scan; for a profile without symmetry, through the flipped profile."""
    x = volume_of(operator, 3)
    profile = operator.profile
    if profile.density is not None and not torch.allclose(profile.density, profile.density.flip(0)):
        knots = torch.stack([-profile.positions_mm.flip(0), profile.density.flip(0)], 1)
        profile = sampled_profile(knots[1:-1])
    flipped = ThroughPlaneOperator(profile, operator.grid, operator.ends)
    assert torch.allclose(flipped(x.flip(-1)), operator(x).flip(-1), atol=TOLERANCE)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_laws_on_any_axis_of_a_volume(operator, axis):
    """The core keeps the slice axis last; moving another axis there and back changes nothing but the place."""
    n = operator.matrix.shape[1]
    x = volume_of(operator, 2, 3).movedim(-1, axis)
    y = operator(x.movedim(axis, -1)).movedim(-1, axis)
    assert torch.allclose(y, torch.tensordot(x, operator.matrix, ([axis], [1])).movedim(-1, axis), atol=TOLERANCE)
    assert (x.shape[axis], y.shape[axis]) == (n, operator.grid.slices)


def test_slices_see_the_right_place():
    operator = build("gaussian", 4.0, 1.2, 0.9, 15, "margin")
    edges = operator.grid.voxel_edges_mm
    ramp = (edges[1:] + edges[:-1]) / 2  # z in mm, so A z = slice centres
    assert torch.allclose(operator(ramp), operator.grid.slice_centres_mm, atol=2e-3)


def test_margins_only_where_the_profile_reaches_out():
    assert build("rect", 4.0, 0.0, 1.0, 10, "margin").grid.margin == 0
    assert build("rect", 4.0, -1.0, 1.0, 10, "margin").grid.margin == 1
    gaussian = build("gaussian", 4.0, 0.0, 1.0, 10, "margin")
    assert gaussian.grid.margin == 5
    assert gaussian.matrix.shape == (10, 50)
    assert build("gaussian", 4.0, 0.0, 1.0, 10, "edge").matrix.shape == (10, 40)


def test_condition_numbers_say_when_slices_overlap():
    assert build("gaussian", 4.0, 0.0, 1.0, 24, "edge").condition_number < 2
    assert build("gaussian", 4.0, 1.2, 1.0, 24, "edge").condition_number < 1.5
    assert build("gaussian", 5.0, -2.5, 1.0, 24, "edge").condition_number > 10


def test_gain_is_the_formula_and_ends_in_the_pseudo_inverse():
    operator = build("gaussian", 4.0, 0.0, 1.0, 8, "margin")
    n, m = operator.matrix.shape[1], 8
    root = torch.randn(n, n, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    covariance = root @ root.T
    a = operator.matrix
    expected = covariance @ a.T @ torch.linalg.inv(a @ covariance @ a.T + 0.3**2 * torch.eye(m))
    assert torch.allclose(operator.gain(covariance, 0.3), expected, atol=1e-9)
    assert torch.allclose(operator.gain(torch.eye(n)), operator.pseudo_inverse_matrix, atol=1e-9)
    stacked = operator.gain(torch.stack([covariance, torch.eye(n)]), 0.3)
    assert torch.allclose(stacked[0], expected, atol=1e-9)


def test_float32_stays_float32_and_repr_speaks_of_millimetres():
    operator = build("gaussian", 4.0, 1.2, 1.0, 8, "margin")
    assert operator(torch.ones(3, operator.matrix.shape[1])).dtype == torch.float32
    assert "4 mm every 5.2 mm" in repr(operator)
    assert "4 mm" in repr(operator.profile)


@pytest.mark.parametrize(("slices", "spacing", "voxel"), [(10, 4.0, 1.15), (11, 5.2, 1.0), (24, 6.0, 0.719)])
def test_a_given_voxel_size_is_honoured_and_centred(slices, spacing, voxel):
    grid = make_grid(slices, spacing, voxel, keep_extent=False)
    assert grid.voxel_mm == voxel
    assert abs(grid.voxels * voxel - slices * spacing) <= voxel / 2 + 1e-9
    assert float(grid.voxel_edges_mm.sum()) == pytest.approx(0, abs=1e-9)


OBLIQUE = np.array([[0.9, 0.1, -0.3, 4.0], [-0.05, 1.1, 0.4, -7.0], [0.2, -0.3, 1.3, 11.0], [0, 0, 0, 1]])


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("affine", [np.diag([1.0, -1.0, 1.0, 1.0]), OBLIQUE], ids=["straight", "oblique"])
@pytest.mark.parametrize("slices", [12, 13])
def test_affine_keeps_the_field_of_view_on_any_axis(axis, affine, slices):
    affine = affine.copy()
    affine[:3, axis] *= 5.0 / np.linalg.norm(affine[:3, axis])
    grid = make_grid(slices, 5.0, 0.9)
    out = grid.affine(affine, axis)
    for slice_edge, voxel_edge in ((-0.5, -0.5), (slices - 0.5, grid.voxels - 0.5)):
        index = np.array([3.0, 4.0, 5.0, 1.0])
        before, after = index.copy(), index.copy()
        before[axis], after[axis] = slice_edge, voxel_edge
        assert np.allclose(affine @ before, out @ after, atol=1e-6)
    other = [i for i in range(3) if i != axis]
    assert np.array_equal(out[:3, other], affine[:3, other])


def test_impossible_grids_are_refused():
    with pytest.raises(ValueError, match="above 0"):
        make_grid(0, 4.0, 1.0)
    with pytest.raises(ValueError, match="above 0"):
        make_grid(4, 4.0, -1.0)
    with pytest.raises(ValueError, match="cover"):
        ThroughPlaneOperator(make_profile("rect", 1.0), ThroughPlaneGrid(9, 8.0, 4, 1.0))
