"""How proton density goes with T1, found from maps where it is known."""

import pytest
import torch

import focvs
from focvs.acquisition.truncation import KSpaceTruncation
from focvs.reconstruction.density_relation import LEAST_SPREAD, RIDGE, Relation, density_relation

SHAPE = (12, 24, 24)
SAME = KSpaceTruncation(SHAPE, (1, 1, 1))  # coarse voxels are the thin ones
EVERYWHERE = torch.ones(SHAPE, dtype=torch.bool)


def maps_with(slope, spread, t1_spread=0.3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    t1, rest = (torch.randn(SHAPE, generator=generator, dtype=torch.float64) for _ in range(2))
    log_t1 = 0.2 + t1_spread * t1
    return torch.stack([slope * log_t1 - 0.1 + spread * rest, log_t1, torch.zeros(SHAPE)], -1).exp()


def test_the_slope_and_what_it_leaves_are_those_of_least_squares():
    found = density_relation(maps_with(0.35, 0.05), EVERYWHERE, SAME, EVERYWHERE)
    slope = 0.35 * 0.3**2 / (0.3**2 + RIDGE)
    assert float(-found.normal[:, 1].mean()) == pytest.approx(slope, abs=0.01)
    left = (0.05**2 + (0.35 - slope) ** 2 * 0.3**2) ** 0.5
    assert float(found.spread.square().mean().sqrt()) == pytest.approx(left, rel=0.05)
    assert bool((found.normal[:, 0] == 1).all()) and bool((found.normal[:, 2] == 0).all())
    assert float(found.offset.mean()) == pytest.approx(0.35 * 0.2 - 0.1 - slope * 0.2, abs=0.01)


def test_a_time_that_does_not_vary_explains_nothing_and_a_relation_is_never_believed_to_be_exact():
    flat = density_relation(maps_with(0.35, 0.05, t1_spread=1e-3), EVERYWHERE, SAME, EVERYWHERE)
    assert float(flat.normal[:, 1].abs().max()) < 0.05
    exact = density_relation(maps_with(0.35, 0.0), EVERYWHERE, SAME, EVERYWHERE)
    assert float(exact.spread.min()) == pytest.approx(LEAST_SPREAD)


def test_it_is_of_the_place_and_unknown_voxels_do_not_count():
    maps = maps_with(0.35, 0.02)
    maps[:, :, 12:, 0] *= 1.3  # a coil that is nearer
    known = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) > 0.2
    maps[~known] = 0
    mask = EVERYWHERE.clone()
    mask[:2] = False
    found = density_relation(maps, known, SAME, mask, (2.0, 2.0, 2.0))
    assert len(found.offset) == int(mask.sum())
    offset = torch.zeros(SHAPE, dtype=torch.float64)
    offset[mask] = found.offset
    step = offset[2:, :, 20:].mean() - offset[2:, :, :4].mean()
    assert float(step) == pytest.approx(0.262, abs=0.03)


def test_with_a_prior_it_is_the_product_of_two_gaussians():
    relation = Relation(
        torch.tensor([[1.0, -0.4, 0.0]], dtype=torch.float64),
        torch.tensor([0.3], dtype=torch.float64),
        torch.tensor([0.1], dtype=torch.float64),
    )
    mean, precision = torch.tensor([0.1, 0.2, 0.3]).double(), torch.diag(torch.tensor([4.0, 2.0, 1.0]).double())
    found, both = relation.with_prior(mean, precision)
    # conditioning the first Gaussian on an observation of normal . log q
    covariance = torch.linalg.inv(precision)
    gain = covariance @ relation.normal[0] / (relation.normal[0] @ covariance @ relation.normal[0] + 0.01)
    assert torch.allclose(found[0], mean + gain * (0.3 - relation.normal[0] @ mean))
    expected = covariance - torch.outer(gain, relation.normal[0] @ covariance)
    assert torch.allclose(torch.linalg.inv(both[0]), expected)


def test_where_nothing_is_known_around_a_prior_stays_what_it_is():
    mean, precision = torch.tensor([0.1, 0.2, 0.3]).double(), torch.diag(torch.tensor([4.0, 2.0, 1.0]).double())
    near = torch.zeros(SHAPE, dtype=torch.bool)
    near[:, :, :4] = True
    for known in (torch.zeros_like(near), near):
        found = density_relation(maps_with(0.35, 0.02), known, SAME, EVERYWHERE)
        moved, both = (v.reshape(*SHAPE, *v.shape[1:]) for v in found.with_prior(mean, precision))
        assert torch.allclose(moved[:, :, 20:], mean) and torch.allclose(both[:, :, 20:], precision)
        assert bool((both[:, :, :4, 0, 0] > 100).all()) == bool(known.any())


@pytest.mark.parametrize(
    "operator",
    [
        KSpaceTruncation((16, 32, 32), (1, 4, 4)),
        KSpaceTruncation((16, 32, 32), (1, 8, 8)),
        focvs.operator(slices=6, spacing_mm=6, thickness_mm=5, voxel_mm=1.2, profile="slr"),
    ],
    ids=["x4", "x8", "slices"],
)
def test_relations_of_coarse_voxels_stay_near_the_truth(operator):
    """Where half of them are unknown, too; weights of A that are negative would be divided by about zero."""
    volume = torch.ones(16, 32, 32, dtype=torch.float64)
    if operator.by_columns:
        volume = torch.ones(16, 32, operator.matrix.shape[1], dtype=torch.float64)
    shape = operator(volume).shape
    generator = torch.Generator().manual_seed(0)
    log_t1, rest = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    log_t1 = 0.2 + 0.3 * log_t1
    maps = torch.stack([0.35 * log_t1 - 0.1 + 0.02 * rest, log_t1, torch.zeros(shape)], -1).exp()
    for seen in (1.0, 0.5):
        known = torch.rand(shape, generator=generator) < seen
        found = density_relation(maps, known, operator, volume > 0, (1.2, 1.2, 1.2))
        told = torch.isfinite(found.spread)
        assert float(told.double().mean()) > 0.95
        at_mean = (found.offset - found.normal[:, 1] * 0.2)[told]  # of the density, where T1 is usual
        assert float((at_mean + 0.03).abs().max()) < 0.15
        assert float((-found.normal[told, 1]).max()) < 0.6 and float((-found.normal[told, 1]).min()) > -0.1
