"""A loaded prior: precision, units, and what is timed on it."""

from dataclasses import replace

import pytest
import torch

from focvs.priors.pretrained import load_prior
from runs import mean_prior


@pytest.mark.parametrize("name", ["tiny_prior", "tiny_conditioned_prior", "volumetric_bundle"])
def test_one_evaluation_is_timed_in_any_precision(name, request):
    folder = request.getfixturevalue(name)
    prior = load_prior(folder, kind="monai" if name == "volumetric_bundle" else "focvs")
    patches = prior.patches("cpu")
    exact, reduced = (prior.evaluate(patches, dtype) for dtype in (torch.float32, torch.bfloat16))
    assert exact.shape == patches.shape and exact.dtype == reduced.dtype == torch.float32
    assert float((exact - reduced).abs().mean()) < 0.05


def test_all_networks_of_a_prior_have_its_precision(tmp_path):
    mean_prior(tmp_path)
    prior = load_prior(tmp_path)
    reduced = prior.at(torch.bfloat16)
    networks = (reduced.denoise, *reduced.stages, reduced.deviation, reduced.residual)
    assert [n.dtype for n in networks] == [torch.bfloat16] * 4
    assert prior.denoise.dtype == torch.float32  # the loaded one is shared
    assert reduced.denoise.denoiser is prior.denoise.denoiser


def test_compiled_networks_are_handed_to_torch(tmp_path, monkeypatch):
    mean_prior(tmp_path)
    seen = []
    monkeypatch.setattr(torch, "compile", lambda network, **_: seen.append(network) or network)
    load_prior(tmp_path).at(torch.float32, compiled=True)
    assert len(seen) == 4


def test_units_are_those_of_the_scan(tiny_prior):
    prior = load_prior(tiny_prior)
    assert prior.in_units_of(100.0, 200.0) is prior.denoise
    scaled = replace(prior, denoise=lambda x, s: x, scaling="maximum").in_units_of(100.0, 200.0)
    assert torch.allclose(scaled(torch.tensor([0.3]), 0.1), torch.tensor([0.3]))
