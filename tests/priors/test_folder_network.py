"""Networks in folders: what is written comes back, and loads in diffusers' layout."""

import json

import pytest
import torch

from focvs.errors import PriorError
from focvs.priors.mean_network import MeanUNet2D
from focvs.priors.weights import CONFIG, WEIGHTS


def small(**options):
    torch.manual_seed(0)
    return MeanUNet2D(channels=(8, 12), blocks=(1, 1), **options)


def test_what_is_written_comes_back(tmp_path):
    network = small(trained={"mirrored": True})
    network.save_pretrained(tmp_path / "new" / "folder")
    content = json.loads((tmp_path / "new" / "folder" / CONFIG).read_text())
    assert content["_class_name"] == "MeanUNet2D" and content["channels"] == [8, 12]
    again = MeanUNet2D.from_pretrained(tmp_path / "new" / "folder")
    assert again.config == network.config
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True))


def test_what_others_wrote_into_the_configuration_is_passed_over(tmp_path):
    small().save_pretrained(tmp_path)
    content = json.loads((tmp_path / CONFIG).read_text()) | {"_diffusers_version": "0.30.0"}
    (tmp_path / CONFIG).write_text(json.dumps(content))
    assert MeanUNet2D.from_pretrained(tmp_path).slab == 5


def test_weights_of_another_network_are_refused(tmp_path):
    small().save_pretrained(tmp_path)
    content = json.loads((tmp_path / CONFIG).read_text()) | {"channels": [8, 16]}
    (tmp_path / CONFIG).write_text(json.dumps(content))
    with pytest.raises(PriorError, match="of another shape"):
        MeanUNet2D.from_pretrained(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    with pytest.raises(PriorError, match="is not there"):
        MeanUNet2D.from_pretrained(tmp_path)
