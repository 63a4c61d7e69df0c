import json

import pytest
import torch

from focvs.errors import PriorError
from focvs.priors.error_table import ErrorTable
from focvs.priors.networks import HaarUNet2D
from focvs.priors.own import save_prior
from focvs.priors.pretrained import CALIBRATION, load_prior
from focvs.priors.weights import WEIGHTS


def test_saved_and_loaded_priors_denoise_alike(tmp_path):
    torch.manual_seed(1)
    network = HaarUNet2D(block_out_channels=(8, 16), norm_groups=4, sigma_data=0.4).eval()
    save_prior(network, tmp_path)
    ErrorTable(torch.tensor([0.1]), torch.ones(1, 4), 1.0).save(tmp_path / CALIBRATION)
    prior = load_prior(tmp_path)
    x = torch.randn(2, 1, 16, 24)
    sigma = torch.tensor([0.1, 0.7])
    total = (sigma**2 + 0.16).sqrt().view(2, 1, 1, 1)
    with torch.no_grad():
        raw = network(x / total, sigma.log() / 4)
    s = sigma.view(2, 1, 1, 1)
    assert torch.allclose(prior.denoise(x, sigma), 0.16 / total**2 * x + s * 0.4 / total * raw, atol=1e-5)
    assert len(prior.sha256) == 64
    assert prior.errors is not None
    assert load_prior(tmp_path).denoise is prior.denoise  # loaded once


def test_weights_may_be_stored_in_half_precision(tmp_path):
    network = HaarUNet2D(block_out_channels=(8, 8), norm_groups=4)
    save_prior(network, tmp_path / "full")
    save_prior(network, tmp_path / "half", torch.float16)
    assert next(network.parameters()).dtype == torch.float32
    sizes = [(tmp_path / k / WEIGHTS).stat().st_size for k in ("full", "half")]
    assert sizes[1] < 0.7 * sizes[0]
    x = torch.randn(1, 1, 16, 16)
    full, half = (load_prior(tmp_path / k).denoise(x, 0.3) for k in ("full", "half"))
    assert half.dtype == torch.float32
    assert torch.allclose(full, half, atol=5e-3)


def test_broken_priors_are_refused_in_one_sentence(tmp_path, tiny_prior):
    with pytest.raises(PriorError, match=r"config\.json is missing"):
        load_prior(tmp_path / "nowhere")

    def copy(name):
        folder = tmp_path / name
        folder.mkdir()
        for file in tiny_prior.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        return folder

    truncated = copy("truncated")
    (truncated / WEIGHTS).write_bytes((truncated / WEIGHTS).read_bytes()[:500])
    with pytest.raises(PriorError, match="could not be read"):
        load_prior(truncated)
    table = copy("table")
    (table / CALIBRATION).write_bytes(b"cut short")
    with pytest.raises(PriorError, match="could not be read"):
        load_prior(table)
    other = copy("other")
    (other / "config.json").write_text(json.dumps({"_class_name": "UNet2DModel"}))
    with pytest.raises(PriorError, match="UNet2DModel"):
        load_prior(other)
    text = copy("text")
    (text / "config.json").write_text("not json")
    with pytest.raises(PriorError, match="not a diffusers configuration"):
        load_prior(text)
    missing = copy("missing")
    (missing / WEIGHTS).unlink()
    with pytest.raises(PriorError, match="is missing"):
        load_prior(missing)


def test_what_a_prior_was_trained_on_is_in_its_configuration(tmp_path):
    trained = {"voxel_range_mm": [0.7, 1.1], "mirrored": True}
    for name, known in (("said", trained), ("silent", None)):
        save_prior(HaarUNet2D(block_out_channels=(8, 8), norm_groups=4, trained=known), tmp_path / name)
    said, silent = load_prior(tmp_path / "said"), load_prior(tmp_path / "silent")
    assert said.voxel_range_mm == (0.7, 1.1) and said.mirrored
    assert silent.voxel_range_mm is None and not silent.mirrored


def test_weights_that_were_written_again_are_loaded_again(tmp_path):
    x = torch.randn(1, 1, 16, 16)
    outputs = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        save_prior(HaarUNet2D(block_out_channels=(8, 8), norm_groups=4), tmp_path)
        outputs.append(load_prior(tmp_path).denoise(x, 0.3))
    assert not torch.allclose(*outputs)
