import torch

from focvs.reconstruction.baselines import METHODS
from focvs.reconstruction.implicit import FeatureGrids
from problems import problem_of


def test_the_implicit_representation_is_that_of_its_place():
    """Grids that are ramps, and a network that passes features on: every level says the place itself."""
    torch.manual_seed(0)
    field = FeatureGrids((9, 17, 33))
    assert [tuple(grid.shape[2:]) for grid in field.grids][-2:] == [(6, 10, 18), (10, 18, 34)]
    with torch.no_grad():
        for grid in field.grids:
            ramps = torch.meshgrid(*(torch.linspace(-1, 1, size) for size in grid.shape[2:]), indexing="ij")
            grid.copy_(torch.stack([ramps[0] + 2 * ramps[1], ramps[2]])[None])
    field.network = torch.nn.Identity()
    places = torch.rand(5, 7, 3) * 2 - 1
    found = field(places).unflatten(-1, (len(field.grids), 2))
    across = places[..., 0] + 2 * places[..., 1]
    assert torch.allclose(found[..., 0], across[..., None].expand_as(found[..., 0]), atol=1e-5)
    assert torch.allclose(found[..., 1], places[..., 2, None].expand_as(found[..., 1]), atol=1e-5)


def test_the_implicit_representation_comes_to_agree_with_the_scan(baseline_head):
    problem = problem_of(baseline_head, steps=300)
    out = METHODS["implicit_representation"](problem)
    assert float((problem.operator(out) - problem.y).std()) < 0.1 * float(problem.y.std())
    errors = {
        n: float((v - baseline_head).square().mean())
        for n, v in (("field", out), ("nearest", METHODS["nearest"](problem)))
    }
    assert errors["field"] < 0.8 * errors["nearest"]
    twice = [METHODS["implicit_representation"](problem_of(baseline_head[:, 20:44], steps=3)) for _ in range(2)]
    assert torch.equal(*twice)
