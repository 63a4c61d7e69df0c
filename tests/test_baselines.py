"""Methods without a prior: their laws, and a run of each from file to file."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.commands.overrides import compose, quote
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.reconstruction import baselines
from focvs.reconstruction.baselines import METHODS, Problem
from focvs.scan.scan import read_scan


def problem_of(volume, thickness=4.0, spacing=4.0, **numbers):
    """Slices of ``(p, q, n)`` voxels of 1 mm."""
    profile = gaussian_profile(thickness)
    grid = make_grid(round(volume.shape[-1] / spacing), spacing, 1.0, profile.half_support_mm)
    operator = ThroughPlaneOperator(profile, grid, "edge")
    y = operator(volume)
    return Problem(y, operator, torch.ones(y.shape, dtype=torch.bool), **numbers)


@pytest.fixture(scope="module")
def head(phantom):
    """``(56, 64, 60)``, of order one."""
    return torch.from_numpy(phantom[1]).float()


LEARNED = ("self_super_resolution", "implicit_representation")


@pytest.mark.parametrize("name", [n for n in METHODS if n not in LEARNED])
def test_a_constant_stays_itself(name):
    flat = torch.full((12, 13, 40), 0.7, dtype=torch.float64)
    out = METHODS[name](problem_of(flat))
    assert out.shape == flat.shape
    # the smallest volume that reproduces a constant is not quite constant where slices differ in reach
    assert torch.allclose(out, flat, atol=0.15 if name == "pseudo_inverse" else 1e-6)


def test_nearest_repeats_slices_and_linear_follows_a_ramp():
    ramp = torch.arange(40, dtype=torch.float64).expand(5, 6, 40)
    problem = problem_of(ramp)
    assert torch.equal(METHODS["nearest"](problem), problem.y.repeat_interleave(4, dim=-1))
    inner = slice(8, -8)  # end slices see the last voxel continued
    assert torch.allclose(METHODS["linear"](problem)[..., inner], ramp[..., inner], atol=1e-3)
    assert torch.allclose(METHODS["spline"](problem)[..., inner], ramp[..., inner], atol=0.1)


@pytest.mark.parametrize("name", ["replaced", "pseudo_inverse"])
def test_exact_methods_reproduce_the_slices(head, name):
    problem = problem_of(head.double())
    out = METHODS[name](problem)
    assert torch.allclose(problem.operator(out), problem.y, atol=1e-10)
    if name == "pseudo_inverse":
        assert out.norm() < METHODS["replaced"](problem).norm()


def variation(x):
    """Isotropic total variation with forward differences, none beyond the last voxel."""
    last = [x.narrow(axis, x.shape[axis] - 1, 1) for axis in range(3)]
    parts = [x.diff(dim=axis, append=last[axis]) for axis in range(3)]
    return sum(part.square() for part in parts).sqrt().sum()


def test_total_variation_comes_near_the_least_of_its_objective(head):
    weight = 0.01

    def objective(x):
        return float(0.5 * (problem.operator(x) - problem.y).square().sum() + weight * variation(x))

    problem = problem_of(head[20:36, 20:36], tv_weight=weight, iterations=60)
    values = {n: objective(METHODS[n](problem)) for n in ("replaced", "spline", "total_variation")}
    assert values["total_variation"] < 0.9 * min(values["replaced"], values["spline"])
    best = baselines.replaced(problem).clone().requires_grad_()
    optimiser = torch.optim.Adam([best], 0.01)
    for step in range(600):
        optimiser.param_groups[0]["lr"] = 0.01 * (1 - step / 600)
        optimiser.zero_grad()
        smooth = (
            sum(best.diff(dim=a, append=best.narrow(a, best.shape[a] - 1, 1)).square() for a in range(3)) + 1e-8
        ).sqrt()
        (0.5 * (problem.operator(best) - problem.y).square().sum() + weight * smooth.sum()).backward()
        optimiser.step()
    assert values["total_variation"] < 1.05 * objective(best.detach())


def test_self_super_resolution_learns_from_the_scan(head, monkeypatch):
    monkeypatch.setattr(baselines, "BATCH", 4)
    learned, start = (METHODS[n](problem_of(head, steps=120)) for n in ("self_super_resolution", "replaced"))
    assert float((learned - head).square().mean()) < 0.97 * float((start - head).square().mean())
    twice = [METHODS["self_super_resolution"](problem_of(head[:, 20:44], steps=2)) for _ in range(2)]
    assert torch.equal(*twice)


def test_the_implicit_representation_is_that_of_its_place():
    """Grids that are ramps, and a network that passes features on: every level says the place itself."""
    torch.manual_seed(0)
    field = baselines.FeatureGrids((9, 17, 33))
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


def test_the_implicit_representation_comes_to_agree_with_the_scan(head):
    problem = problem_of(head, steps=300)
    out = METHODS["implicit_representation"](problem)
    assert float((problem.operator(out) - problem.y).std()) < 0.1 * float(problem.y.std())
    errors = {
        n: float((v - head).square().mean()) for n, v in (("field", out), ("nearest", METHODS["nearest"](problem)))
    }
    assert errors["field"] < 0.8 * errors["nearest"]
    twice = [METHODS["implicit_representation"](problem_of(head[:, 20:44], steps=3)) for _ in range(2)]
    assert torch.equal(*twice)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_writes_its_volume(tmp_path, thick_scan, name):
    words = [f"scan={quote(str(thick_scan))}", f"output_dir={quote(str(tmp_path / 'out'))}", "thickness=5"]
    words += [
        f"method={name}",
        f"baseline.training_steps={60 if name == 'implicit_representation' else 4}",
        "baseline.tv_iterations=2",
    ]
    paths = super_resolve(OmegaConf.to_object(compose("config", words)))
    assert paths.keys() == {"mean", "figure", "json"}
    assert paths["mean"].name == f"scan_{name}.nii.gz"
    image, scan = nib.load(paths["mean"]), read_scan(thick_scan)
    assert image.shape[:2] == scan.data.shape[:2] and np.isfinite(image.dataobj).all()
    inside = scan.data > 300
    share = image.get_fdata()[..., 2::5][inside].mean() / scan.data[inside].mean()
    assert 0.7 < share < 1.3  # in the units of the scan
    report = json.loads(paths["json"].read_text())
    assert report["method"] == report["consistency"]["rule"] == name and report["prior"] is None
    exact = report["consistency"]["relative_residual"] <= 1e-5
    assert exact == (name in ("replaced", "pseudo_inverse"))


def test_what_methods_cannot_do_is_refused(tmp_path, thick_scan):
    words = [f"scan={quote(str(thick_scan))}", f"output_dir={quote(str(tmp_path / 'out'))}"]
    for wrong, sentence in (
        ("method=smore", "choose one of focvs, nearest"),
        ("baseline.tv_weight=0", "must be above 0"),
        ("baseline.training_steps=1", "must be at least 2"),
    ):
        with pytest.raises(InputError, match=sentence):
            super_resolve(OmegaConf.to_object(compose("config", [*words, wrong])))
    both = [*words, "method=spline", f"stacks=[{quote(str(thick_scan))}]"]
    with pytest.raises(InputError, match="restores one stack"):
        super_resolve(OmegaConf.to_object(compose("config", both)))
    assert not (tmp_path / "out").exists()
