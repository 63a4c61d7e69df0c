"""Errors of several signals together."""

import pytest
import torch

import focvs
from focvs.reconstruction.signal_errors import correlated, detail_correlation, precision_of, with_guides


def test_detail_goes_together_where_contrasts_share_tissues():
    operator = focvs.operator(slices=8, spacing_mm=6, thickness_mm=5, voxel_mm=1.2)
    generator = torch.Generator().manual_seed(0)
    detail, other = torch.randn(2, 20, 20, 8, generator=generator, dtype=torch.float64)
    found = detail_correlation(torch.stack([detail, -2 * detail, other]), operator)
    assert found.shape == (20, 20, 40, 3, 3)
    assert float(found[..., 0, 1].mean()) == pytest.approx(-0.9, abs=1e-3)
    assert float(found[..., 0, 2].abs().mean()) < 0.2
    assert bool((torch.linalg.eigvalsh(found) > 0).all())


def random_errors(seed=0):
    generator = torch.Generator().manual_seed(seed)
    root = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    covariance = root @ root.T + 0.1 * torch.eye(3)
    spread = covariance.diagonal().sqrt()
    return covariance, spread, covariance / (spread[:, None] * spread[None])


def test_the_precision_is_the_inverse_of_the_covariance():
    covariance, spread, correlation = random_errors()
    found = precision_of(spread[None], correlation[None])
    assert torch.allclose(found[0], torch.linalg.inv(covariance), atol=1e-10)
    whole = with_guides(found, torch.tensor([[4.0], [9.0]], dtype=torch.float64))
    assert torch.equal(whole[0, :3, :3], found[0])
    assert whole[0].diagonal()[3:].tolist() == [4.0, 9.0] and whole[0, 3, 4] == 0 and not whole[0, :3, 3:].any()


def test_independent_errors_are_made_to_have_the_covariance():
    covariance, spread, correlation = random_errors(1)
    errors = spread * torch.randn(200_000, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    found = correlated(errors, spread.expand(len(errors), 3), correlation.expand(len(errors), 3, 3))
    assert torch.allclose(torch.cov(found.T), covariance, atol=0.03 * float(covariance.abs().max()))
