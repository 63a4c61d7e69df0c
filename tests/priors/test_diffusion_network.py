"""The unconditional diffusion prior: what it hears, and what it must not."""

import pytest
import torch

from focvs.priors.condition import middle
from focvs.priors.denoiser import EDMDenoiser
from focvs.priors.diffusion_network import DiffusionUNet2D


def network(random=True, **options):
    torch.manual_seed(0)
    made = DiffusionUNet2D(**{"slab": 3, "channels": (8, 12), "blocks": (1, 1), "embedding": 16} | options)
    for parameter in made.parameters():
        if random and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    return made


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_an_untrained_one_is_the_best_guess_about_white_volumes(sigma):
    """E[x | x + sigma n] of x ~ N(0, 0.6^2), voxel by voxel."""
    x = torch.randn(2, 3, 10, 12)
    found = EDMDenoiser(network(random=False, sigma_data=0.6))(x, sigma)
    assert torch.allclose(found, middle(x) * 0.36 / (0.36 + sigma**2), atol=1e-6)


def test_noise_level_and_every_slice_are_heard():
    raw, slabs = network(), torch.randn(2, 3, 8, 8)
    before = raw(slabs, torch.full((2,), 0.3))
    assert not torch.allclose(before, raw(slabs, torch.full((2,), -0.3)), atol=1e-4)
    for place in range(3):
        changed = slabs.clone()
        changed[:, place] += 1
        assert not torch.allclose(before, raw(changed, torch.full((2,), 0.3)), atol=1e-5), place


def test_a_slice_alone_repeats_itself():
    raw, image, level = network(), torch.randn(2, 1, 9, 11), torch.zeros(2)
    assert torch.equal(raw(image, level), raw(image.expand(-1, 3, -1, -1), level))
    assert raw(image, level).shape == (2, 1, 9, 11)


def test_a_folder_gives_it_back(tmp_path):
    made = network(sigma_data=0.4, trained={"mirrored": True})
    made.save_pretrained(tmp_path)
    again = DiffusionUNet2D.from_pretrained(tmp_path)
    assert again.sigma_data == 0.4 and again.trained == {"mirrored": True} and not again.conditioned
    slabs, level = torch.randn(1, 3, 8, 8), torch.zeros(1)
    assert torch.equal(made(slabs, level), again(slabs, level))


def test_levels_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="must name as many levels"):
        network(blocks=(1,))
    with pytest.raises(ValueError, match="odd number of slices"):
        network(slab=4)
