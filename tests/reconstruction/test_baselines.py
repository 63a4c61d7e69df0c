"""Methods without a prior: their laws, and a run of each from file to file."""

import json
import shutil

import nibabel as nib
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from focvs.commands.overrides import compose, quote
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.reconstruction import baselines
from focvs.reconstruction.baselines import GUIDED, METHODS
from focvs.scan.scan import read_scan
from problems import problem_of

LEARNED = ("self_super_resolution", "implicit_representation")


@pytest.mark.parametrize("name", [n for n in METHODS if n not in LEARNED])
def test_a_constant_stays_itself(name):
    flat = torch.full((12, 13, 40), 0.7, dtype=torch.float64)
    out = METHODS[name](problem_of(flat, guide=flat))
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
def test_exact_methods_reproduce_the_slices(baseline_head, name):
    problem = problem_of(baseline_head.double())
    out = METHODS[name](problem)
    assert torch.allclose(problem.operator(out), problem.y, atol=1e-10)
    if name == "pseudo_inverse":
        assert out.norm() < METHODS["replaced"](problem).norm()


def variation(x):
    """Isotropic total variation with forward differences, none beyond the last voxel."""
    last = [x.narrow(axis, x.shape[axis] - 1, 1) for axis in range(3)]
    parts = [x.diff(dim=axis, append=last[axis]) for axis in range(3)]
    return sum(part.square() for part in parts).sqrt().sum()


def test_total_variation_comes_near_the_least_of_its_objective(baseline_head):
    weight = 0.01

    def objective(x):
        return float(0.5 * (problem.operator(x) - problem.y).square().sum() + weight * variation(x))

    problem = problem_of(baseline_head[20:36, 20:36], tv_weight=weight, iterations=60)
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


@pytest.mark.parametrize("name", [n for n in METHODS if n != GUIDED])  # of which tests/reconstruction/test_guide.py has
def test_every_method_writes_its_volume(tmp_path, thick_scan, name):
    words = [f"scan={quote(str(thick_scan))}", f"output_dir={quote(str(tmp_path / 'out'))}", "thickness=5"]
    words += [
        f"method={name}",
        f"baseline.training_steps={60 if name == 'implicit_representation' else 4}",
        "baseline.tv_iterations=2",
    ]
    paths = super_resolve(OmegaConf.to_object(compose("config", words)))
    assert paths.keys() == {"mean", "figure", "json", "report"}
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
    other = shutil.copy(thick_scan, tmp_path / "other.nii.gz")
    both = [*words, "method=spline", f"stacks=[{quote(str(other))}]"]
    with pytest.raises(InputError, match="restores one stack"):
        super_resolve(OmegaConf.to_object(compose("config", both)))
    assert not (tmp_path / "out").exists()
