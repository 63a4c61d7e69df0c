"""deepinv sees the same A."""

import pytest
import torch

import focvs

pytest.importorskip("deepinv", reason="deepinv is not installed: pip install 'focvs[deepinv]'")
from focvs.acquisition import deepinv_physics


@pytest.fixture
def pair():
    operator = focvs.operator(slices=8, spacing_mm=6, thickness_mm=5, voxel_mm=1.2)
    return operator, deepinv_physics.as_physics(operator, 0.1)


def test_maps_are_those_of_the_operator(pair):
    operator, physics = pair
    x = torch.randn(2, 1, 3, 40, generator=torch.Generator().manual_seed(0))
    y = operator(x)
    for theirs, ours in (
        (physics.A(x), y),
        (physics.A_adjoint(y), operator.adjoint(y)),
        (physics.A_dagger(y), operator.pseudo_inverse(y)),
    ):
        torch.testing.assert_close(theirs, ours, atol=1e-5, rtol=1e-5)


def test_a_proximal_step_is_the_closed_form(pair):
    operator, physics = pair
    z = torch.randn(1, 1, 2, 40, generator=torch.Generator().manual_seed(1))
    y = torch.randn(1, 1, 2, 8, generator=torch.Generator().manual_seed(2))
    matrix, gamma = operator.matrix, 0.7
    normal = gamma * matrix.T @ matrix + torch.eye(40)
    expected = torch.linalg.solve(normal, (z + gamma * operator.adjoint(y)).double()[..., None])[..., 0]
    torch.testing.assert_close(physics.prox_l2(z, y, gamma).double(), expected, atol=1e-5, rtol=1e-5)


def test_noise_is_as_strong_as_was_said(pair):
    _, physics = pair
    x = torch.zeros(1, 1, 200, 40)
    assert float(physics(x).std()) == pytest.approx(0.1, rel=0.1)
