"""Checkpoints written by the original libraries in their own formats, and files that must be refused."""

import json

import diffusers
import pytest
import torch
from monai.networks.nets import DiffusionModelUNet

from focvs.errors import PriorError
from focvs.priors.foreign import diffusers_denoiser, medforj_denoiser
from focvs.priors.pretrained import load_prior
from networks_by_hand import TABLE, epsilon_by_hand

MEDFORJ = {
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 1,
    "channels": (16, 32, 64, 128, 256),
    "attention_levels": (False, False, False, False, True),
    "num_res_blocks": 2,
    "num_head_channels": 8,
    "norm_num_groups": 8,
}


def small_unet(**changes):
    torch.manual_seed(0)
    settings = {
        "in_channels": 1,
        "out_channels": 1,
        "block_out_channels": (8, 8),
        "layers_per_block": 1,
        "norm_num_groups": 4,
        "down_block_types": ("DownBlock2D",) * 2,
        "up_block_types": ("UpBlock2D",) * 2,
    }
    return diffusers.UNet2DModel(**(settings | changes)).eval()


@pytest.mark.parametrize("layout", ["pipeline", "bare", "bin"])
def test_diffusers_folders(tmp_path, layout):
    network = small_unet()
    scheduler = diffusers.DDPMScheduler()
    if layout == "pipeline":
        diffusers.DDPMPipeline(network, scheduler).save_pretrained(tmp_path)
    else:
        network.save_pretrained(tmp_path, safe_serialization=layout == "bare")
        scheduler.save_pretrained(tmp_path)
    x = torch.randn(1, 1, 16, 18)
    prior = load_prior(tmp_path, kind="diffusers")
    expected, sigma = epsilon_by_hand(network, x, 300)
    assert torch.allclose(prior.denoise(x, sigma), expected, atol=1e-3)
    assert prior.dimensions == 2
    assert prior.denoise(torch.randn(2, 1, 15, 13), 0.4).shape == (2, 1, 15, 13)


@pytest.mark.parametrize(
    ("scheduler", "prediction"),
    [
        (diffusers.DDPMScheduler(prediction_type="v_prediction"), "v_prediction"),
        (diffusers.DDIMScheduler(prediction_type="sample"), "sample"),
        (diffusers.EDMEulerScheduler(sigma_data=0.4), "edm"),
        (diffusers.FlowMatchEulerDiscreteScheduler(), "velocity"),
    ],
    ids=lambda v: v if isinstance(v, str) else type(v).__name__,
)
def test_what_the_scheduler_says_is_what_is_used(tmp_path, scheduler, prediction):
    network = small_unet()
    network.save_pretrained(tmp_path)
    scheduler.save_pretrained(tmp_path / "scheduler")
    x, sigma = torch.randn(1, 1, 16, 16), 0.5
    got = load_prior(tmp_path, kind="diffusers").denoise(x, sigma)
    said = load_prior(tmp_path, kind="diffusers", prediction=prediction).denoise(x, sigma)
    other = load_prior(tmp_path, kind="diffusers", prediction="velocity_reversed").denoise(x, sigma)
    assert torch.equal(got, said)
    assert not torch.allclose(got, other, atol=1e-3)
    if prediction == "edm":
        with torch.no_grad():
            raw = network(x / (0.25 + 0.16) ** 0.5, torch.tensor([sigma]).log() / 4).sample
        assert torch.allclose(got, scheduler.precondition_outputs(x, raw, sigma), atol=1e-5)


def test_diffusers_refusals(tmp_path):
    def saved(name, network, scheduler=None):
        network.save_pretrained(tmp_path / name)
        if scheduler is not None:
            scheduler.save_pretrained(tmp_path / name)
        return tmp_path / name

    folder = saved("unsaid", small_unet())
    with pytest.raises(PriorError, match=r"give prior\.prediction="):
        diffusers_denoiser(folder)
    diffusers_denoiser(folder, "epsilon")
    with pytest.raises(PriorError, match="score is not known"):
        diffusers_denoiser(folder, "score")
    with pytest.raises(PriorError, match="3 input and 3 output channels"):
        diffusers_denoiser(saved("rgb", small_unet(in_channels=3, out_channels=3), diffusers.DDPMScheduler()))
    with pytest.raises(PriorError, match="conditioned on classes"):
        diffusers_denoiser(saved("classes", small_unet(num_class_embeds=3), diffusers.DDPMScheduler()))
    with pytest.raises(PriorError, match="asks for ScoreSdeVeScheduler"):
        diffusers_denoiser(saved("sde", small_unet(), diffusers.ScoreSdeVeScheduler()))
    folder = saved("wider", small_unet(), diffusers.DDPMScheduler())
    config = json.loads((folder / "config.json").read_text()) | {"block_out_channels": [8, 16]}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(PriorError, match="does not fit the network"):
        diffusers_denoiser(folder)
    (folder / "config.json").write_text(json.dumps({"_class_name": "UNet2DConditionModel"}))
    with pytest.raises(PriorError, match="UNet2DConditionModel"):
        diffusers_denoiser(folder)
    (folder / "config.json").write_text("[]")
    with pytest.raises(PriorError, match="no table of settings"):
        diffusers_denoiser(folder)
    with pytest.raises(PriorError, match="is not a folder"):
        diffusers_denoiser(tmp_path / "nowhere")


def test_a_hub_id_without_a_network_is_one_sentence(monkeypatch):
    import huggingface_hub

    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(PriorError, match="hub did not give it"):
        diffusers_denoiser("someone/model")


def test_a_hub_id_is_fetched_as_data_alone(monkeypatch, tmp_path):
    import huggingface_hub

    diffusers.DDPMPipeline(small_unet(), diffusers.DDPMScheduler()).save_pretrained(tmp_path)
    asked = {}

    def fetch(name, allow_patterns):
        asked[name] = allow_patterns
        return str(tmp_path)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fetch)
    diffusers_denoiser("someone/model")
    assert asked == {"someone/model": ["*.json", "*.safetensors"]}


def test_medforj_weights(tmp_path):
    """The file as MedForj writes it; its flow is noise - clean on the variance-preserving path."""
    torch.manual_seed(0)
    network = DiffusionModelUNet(**MEDFORJ).eval()
    for folder in ("flow", "velocity", "elsewhere"):
        (tmp_path / folder).mkdir()
        torch.save({"model": network.state_dict()}, tmp_path / folder / "model_epoch100.pt")
    x = torch.randn(1, 1, 16, 16, 16)
    a = float(TABLE[250]) ** 0.5
    s = (1 - a**2) ** 0.5
    with torch.no_grad():
        flow = network(a * x, torch.tensor([250.0]))
    prior = load_prior(tmp_path / "flow" / "model_epoch100.pt", kind="medforj")
    assert torch.allclose(prior.denoise(x, s / a), (a * x - s * flow) / (a + s), atol=1e-3)
    assert (prior.dimensions, prior.scaling, prior.axes, prior.shape) == (3, "maximum", "LPS", (192, 224, 192))
    elsewhere, _ = medforj_denoiser(tmp_path / "elsewhere" / "model_epoch100.pt")
    assert elsewhere.prediction == "flow"
    velocity, _ = medforj_denoiser(tmp_path / "velocity" / "model_epoch100.pt")
    assert velocity.prediction == "v_prediction"
