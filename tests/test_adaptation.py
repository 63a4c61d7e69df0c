import json
from dataclasses import replace

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from focvs.acquisition.degradation import make_degradation
from focvs.acquisition.profile import gaussian_profile
from focvs.commands.overrides import compose, quote
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.priors.condition import ScanCondition
from focvs.priors.denoiser import EDMDenoiser
from focvs.priors.networks import HaarUNet2D
from focvs.priors.pretrained import WEIGHTS, load_prior
from focvs.priors.weights import sha256_of
from focvs.training.fine_tuning import AdaptationPlan, LowRank, adapt


@pytest.fixture(scope="module")
def slices(phantom):
    volume = torch.from_numpy(2 * phantom[1] - 1)
    images = volume[..., 20:40:4].movedim(-1, 0)[:, None].contiguous()
    return images, images > -0.8


@pytest.mark.parametrize(("method", "rate"), [("full", 3e-3), ("lora", 1e-2)])
def test_adaptation_learns_the_scan_and_leaves_the_prior_alone(slices, method, rate):
    images, mask = slices
    torch.manual_seed(0)
    network = HaarUNet2D(block_out_channels=(8, 16), norm_groups=4, conditioned=True)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    acquisition = make_degradation(gaussian_profile(4.0), 4.0, 32)
    plan = AdaptationPlan(steps=80, learning_rate=rate, method=method, batch_size=4, patch=32)
    seen = []
    random_state = torch.get_rng_state()
    tuned = adapt(network, images, mask, [acquisition], 0.02, plan, lambda step, loss: seen.append(step))
    assert seen == list(range(1, 81))
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert tuned.state_dict().keys() == before.keys()  # low-rank additions are merged
    window = images[:, :, 8:40, 16:48]
    condition = ScanCondition.simulated(acquisition, window)
    noise = torch.randn(window.shape, generator=torch.Generator().manual_seed(1))
    sigma = torch.full((len(window),), 0.2)
    with torch.no_grad():
        losses = [float(EDMDenoiser(n).loss(window, sigma, noise, condition).mean()) for n in (network, tuned)]
    assert losses[1] < 0.9 * losses[0]
    first, again = (adapt(network, images, mask, [acquisition], 0.02, replace(plan, steps=2)) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))


def test_low_rank_additions_start_at_nothing_and_have_their_rank():
    layer = nn.Conv2d(6, 10, 3)
    addition = LowRank(layer.weight, 4)
    assert torch.equal(addition(layer.weight), layer.weight)
    nn.init.normal_(addition.up)
    change = (addition(layer.weight) - layer.weight).flatten(1)
    assert torch.linalg.matrix_rank(change) == 4


def test_mistakes_are_named(slices):
    images, mask = slices
    network = HaarUNet2D(block_out_channels=(8, 8), norm_groups=4)
    with pytest.raises(ValueError, match="choose one of full, lora"):
        adapt(network, images, mask, [], 0.0, AdaptationPlan(method="half"))
    with pytest.raises(ValueError, match="enough head"):
        adapt(network, images, torch.zeros_like(mask), [], 0.0, AdaptationPlan(steps=1, patch=16))


def run(scan, out, prior, *words):
    fixed = [f"scan={quote(str(scan))}", f"output_dir={quote(str(out))}", f"prior.path={quote(str(prior))}"]
    fixed += ["samples=1", "steps=1", "figure=false", "progress=false", "thickness=5", "adapt=true"]
    fixed += [f"adaptation.cache={quote(str(out.parent / 'kept'))}", "adaptation.steps=3", "adaptation.patch=32"]
    return super_resolve(OmegaConf.to_object(compose("config", [*fixed, *words])))


@pytest.mark.parametrize("conditioned", [False, True])
def test_an_adapted_prior_is_made_once_and_the_shipped_one_never_written(
    tmp_path, thick_scan, tiny_prior, tiny_conditioned_prior, conditioned, caplog
):
    prior = tiny_conditioned_prior if conditioned else tiny_prior
    before = (prior / WEIGHTS).read_bytes()
    first = run(thick_scan, tmp_path / "1", prior)
    caplog.set_level("INFO")
    second = run(thick_scan, tmp_path / "2", prior)
    assert "adapted prior from" in caplog.text
    assert (prior / WEIGHTS).read_bytes() == before
    assert len(list((tmp_path / "kept").iterdir())) == 1
    assert first["mean"].read_bytes() == second["mean"].read_bytes()
    report = json.loads(first["json"].read_text())
    assert report["prior"]["adapted"]
    assert report["prior"]["sha256"] == sha256_of(prior / WEIGHTS)
    assert report["consistency"]["relative_residual"] <= 1e-5
    assert report["seconds"]["adaptation"] > 0
    told = run(thick_scan, tmp_path / "4", prior, "consistency.calibration=table")  # its table is of other weights
    assert told["mean"].read_bytes() == first["mean"].read_bytes()
    run(thick_scan, tmp_path / "3", prior, "adaptation.seed=1")
    assert len(list((tmp_path / "kept").iterdir())) == 2


def test_a_broken_cache_is_made_again(tmp_path, thick_scan, tiny_prior):
    first = run(thick_scan, tmp_path / "1", tiny_prior)
    kept = next((tmp_path / "kept").iterdir())
    (kept / WEIGHTS).write_bytes(b"cut")
    load_prior.cache_clear()
    second = run(thick_scan, tmp_path / "2", tiny_prior)
    assert first["mean"].read_bytes() == second["mean"].read_bytes()


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("adaptation.steps=0", "at least 1"),
        ("adaptation.learning_rate=0", "above 0"),
        ("adaptation.method=half", "choose one of full"),
        ("adaptation.patch=4", "at least 16"),
    ],
)
def test_impossible_plans_are_refused(tmp_path, thick_scan, tiny_prior, word, message):
    with pytest.raises(InputError, match=message):
        run(thick_scan, tmp_path / "out", tiny_prior, word)
