import pytest
import torch

from focvs.errors import PriorError
from focvs.priors.bundles import monai_denoiser
from focvs.priors.pretrained import load_prior
from networks_by_hand import bundle, definition, epsilon_by_hand, monai_network


@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize(("suffix", "weights"), [(".json", "model.pt"), (".yaml", "model.safetensors")])
def test_monai_bundles(tmp_path, dimensions, suffix, weights):
    network = monai_network(dimensions)
    scheduler = {
        "_target_": "monai.networks.schedulers.DDPMScheduler",
        "num_train_timesteps": 1000,
        "schedule": "linear_beta",
        "beta_start": 1e-4,
        "beta_end": 2e-2,
    }
    config = definition(dimensions) | {"noise_scheduler": scheduler, "dataset": "$open('/etc/passwd').read()"}
    folder = bundle(tmp_path / "bundle", network, config, suffix, weights)
    prior = load_prior(folder, kind="monai")
    x = torch.randn(1, 1, *[16] * dimensions)
    expected, sigma = epsilon_by_hand(network, x, 300)
    assert torch.allclose(prior.denoise(x, sigma), expected, atol=1e-3)
    assert prior.dimensions == dimensions


def test_a_rectified_flow_bundle_has_monais_sign(tmp_path):
    network = monai_network(3)
    config = definition(3) | {"noise_scheduler": {"_target_": "RFlowScheduler", "num_train_timesteps": 1000}}
    denoise, dimensions, multiple, _ = monai_denoiser(bundle(tmp_path / "bundle", network, config))
    assert (dimensions, multiple) == (3, 2)
    x = torch.randn(1, 1, 8, 8, 8)
    with torch.no_grad():
        velocity = network(0.6 * x, torch.tensor([400.0]))
        got = denoise(x, 0.4 / 0.6)
    assert torch.allclose(got, 0.6 * x + 0.4 * velocity, atol=1e-5)


def test_bundle_refusals(tmp_path):
    network, ddpm = monai_network(2), {"noise_scheduler": {"_target_": "DDPMScheduler"}}
    cases = {
        "expression": (definition(in_channels="$__import__('os').system('true')") | ddpm, "expression"),
        "class": (definition(_target_="subprocess.Popen") | ddpm, "asks for Popen"),
        "scheduler": (definition() | {"noise_scheduler": {"_target_": "os.system"}}, "asks for system"),
        "no schedule": (definition(), "no noise schedule"),
        "no network": (ddpm, "defines no network"),
        "channels": (definition(in_channels=2) | ddpm, "2 input and 1 output channels"),
        "reference": (definition(channels="@nowhere") | ddpm, "refers to @nowhere"),
        "circle": (definition(channels="@again") | ddpm | {"again": "@again"}, "circle"),
        "arguments": (definition(depth=3) | ddpm, "cannot be built"),
        "conditioned": (definition(with_conditioning=True) | ddpm, "conditioned network"),
        "told": (definition(_target_="DiffusionModelUNetMaisi", include_spacing_input=True) | ddpm, "conditioned"),
        "shape": (definition(channels=[8, 16]) | ddpm, "does not fit the network"),
    }
    for name, (config, message) in cases.items():
        with pytest.raises(PriorError, match=message):
            monai_denoiser(bundle(tmp_path / name, network, config))
    with pytest.raises(PriorError, match="not a MONAI bundle"):
        monai_denoiser(tmp_path / "nowhere")
    empty = bundle(tmp_path / "empty", network, definition() | ddpm)
    (empty / "models" / "model.pt").unlink()
    with pytest.raises(PriorError, match=r"holds no \.pt"):
        monai_denoiser(empty)
