"""The laws that every forward operator obeys, in float64: adjoint, pseudo-inverse, constants, and what a row sees."""

import numpy as np
import pytest
import torch

from acquisition_cases import through_plane
from focvs.acquisition.degradation import make_degradation
from focvs.acquisition.linear_operator import MatrixOperator
from focvs.acquisition.profile import make_profile
from focvs.acquisition.resampling import GridResampling
from focvs.acquisition.truncation import KSpaceTruncation
from stacked import SHAPE, centred, sideways

TOLERANCE = 1e-10


def resampled():
    """To voxels of other sizes, turned by a few degrees."""
    turn = np.eye(4)
    turn[:3, :3] = np.array([[0.995, -0.1, 0], [0.1, 0.995, 0], [0, 0, 1]])
    return GridResampling(SHAPE, centred(SHAPE, np.eye(3)), (9, 7, 11), turn @ centred((9, 7, 11), 1.3 * np.eye(3)))


# name: operator, shape of a volume, shape of what is measured, whether the pseudo-inverse is exact
CASES = {
    "gaussian, touching": (through_plane("gaussian", 4.0, 0.0, 1.0, 12, "margin"), None),
    "gaussian, gap, at the edge": (through_plane("gaussian", 4.0, 1.2, 0.857, 13, "edge"), None),
    "gaussian, overlapping": (through_plane("gaussian", 5.0, -1.3, 1.0, 12, "margin"), None),
    "rectangle, gap": (through_plane("rect", 3.0, 1.2, 1.0, 13, "margin"), None),
    "SLR pulse": (through_plane("slr", 5.0, 0.0, 0.857, 12, "edge"), None),
    "partitions of a 3D scan": (through_plane("kspace", 3.0, 0.0, 1.0, 13, "margin"), None),
    "a profile without symmetry": (through_plane("wedge", 5.0, 0.0, 0.857, 12, "edge"), None),
    "a patch": (make_degradation(make_profile("gaussian", 4.0), 5.0, 64, 0.3), None),
    "another grid": (resampled(), (9, 7, 11)),
    "k-space cut off": (KSpaceTruncation(SHAPE, (2, 4, 1)), (6, 2, 15)),
    "k-space cut off, an odd number": (KSpaceTruncation(SHAPE, (4, 1, 3)), (3, 8, 5)),
    "a stack across": (sideways(), (8, 15, 4)),
    "a stack of coarse pixels": (sideways(fine=(2, 3)), (4, 5, 4)),
}


@pytest.fixture(params=CASES, scope="module")
def case(request):
    """An operator with a volume and a measurement of random numbers, float64."""
    operator, measured = CASES[request.param]
    generator = torch.Generator().manual_seed(0)
    if isinstance(operator, MatrixOperator):
        m, n = operator.matrix.shape
        shapes = (4, n), (4, m)
    else:
        shapes = SHAPE, measured
    return operator, *(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)


def test_the_adjoint_is_the_transpose(case):
    operator, x, y = case
    assert operator(x).shape == y.shape and operator.adjoint(y).shape == x.shape
    assert float((operator(x) * y).sum()) == pytest.approx(float((x * operator.adjoint(y)).sum()), abs=TOLERANCE)
    x = x.clone().requires_grad_(True)
    (gradient,) = torch.autograd.grad((operator(x) * y).sum(), x)
    assert torch.allclose(gradient, operator.adjoint(y), atol=TOLERANCE)


def test_what_is_spread_for_local_averages_is_of_weights_that_are_not_negative(case):
    operator, x, y = case
    if not isinstance(operator, MatrixOperator | KSpaceTruncation):
        pytest.skip("maps are of slices or of k-space that was cut off")
    spread = operator.spread(y.abs())
    assert spread.shape == x.shape and float(spread.min()) >= 0
    assert torch.allclose(operator.share(torch.ones_like(x)), torch.ones_like(y), atol=TOLERANCE)


def test_a_constant_stays_itself(case):
    operator, x, _ = case
    seen = operator(torch.full_like(x, 0.7))
    covered = getattr(operator, "covered", torch.ones_like(seen, dtype=torch.bool))
    assert torch.allclose(seen[covered], torch.full_like(seen[covered], 0.7), atol=TOLERANCE)


def test_the_pseudo_inverse_reproduces_what_was_measured(case):
    """A A^+ A = A for matrices; where grids are resampled, nearly so for what is smooth."""
    operator, x, _ = case
    if isinstance(operator, MatrixOperator):
        assert torch.allclose(operator(operator.pseudo_inverse(operator(x))), operator(x), atol=1e-9)
        p, a = operator.pseudo_inverse_matrix, operator.matrix
        assert torch.allclose((p @ a).T, p @ a, atol=TOLERANCE * operator.condition_number)
        assert torch.allclose(p @ a @ p, p, atol=TOLERANCE * operator.condition_number**2)
        return
    if isinstance(operator, KSpaceTruncation):
        seen = operator(x)
        back = operator.pseudo_inverse(seen)
        assert torch.allclose(operator(back), seen, atol=1e-9)
        assert torch.allclose(operator.pseudo_inverse(operator(back)), back, atol=1e-9)
        return
    places = torch.meshgrid(*[torch.linspace(0, 3, n, dtype=torch.float64) for n in SHAPE], indexing="ij")
    smooth = torch.sin(places[0]) * torch.cos(places[1]) + 0.3 * torch.sin(places[2])
    seen = operator(smooth)
    inner = tuple(slice(2, -2) if n > 6 else slice(1, -1) for n in seen.shape)
    again = operator(operator.pseudo_inverse(seen))
    assert float((again - seen)[inner].abs().max()) < 0.25 * float(seen.abs().max())


def test_replacement_is_exact_and_leaves_the_null_space(case):
    operator, x, y = case
    if isinstance(operator, MatrixOperator):
        y = operator(torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64))
    out = operator.replace(x, y)
    if isinstance(operator, MatrixOperator):
        tolerance = 1e-9 if operator.condition_number < 1e3 else 1e-5  # slices beyond a patch all see its end pixel
        assert float(operator.residual(out, y).abs().max()) < tolerance
        assert torch.allclose(operator.null_space(out), operator.null_space(x), atol=10 * tolerance)
    else:
        assert torch.equal(out, x + operator.pseudo_inverse(operator.residual(x, y)))


def test_the_kalman_gain_is_its_formula_and_ends_in_the_pseudo_inverse():
    operator = through_plane("gaussian", 4.0, 0.0, 1.0, 8, "margin")
    n, m = operator.matrix.shape[1], 8
    root = torch.randn(n, n, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    covariance = root @ root.T
    a = operator.matrix
    expected = covariance @ a.T @ torch.linalg.inv(a @ covariance @ a.T + 0.3**2 * torch.eye(m))
    assert torch.allclose(operator.kalman_gain(covariance, 0.3), expected, atol=1e-9)
    assert torch.allclose(operator.kalman_gain(torch.eye(n)), operator.pseudo_inverse_matrix, atol=1e-9)
    stacked = operator.kalman_gain(torch.stack([covariance, torch.eye(n)]), 0.3)
    assert torch.allclose(stacked[0], expected, atol=1e-9)


@pytest.mark.parametrize("device", ["meta"])
def test_nothing_is_made_float64_beside_a_volume(device):
    """Devices without float64 (MPS) get matrices in the precision of what they act on; shapes alone are followed."""
    operator = through_plane("gaussian", 4.0, 1.2, 1.0, 8, "margin")
    x = torch.empty(3, operator.matrix.shape[1], device=device)
    for out in (operator(x), operator.null_space(x), operator.replace(x, operator(x))):
        assert out.dtype == torch.float32 and out.device.type == device
