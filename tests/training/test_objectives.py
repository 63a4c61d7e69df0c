"""What networks learn by."""

import pytest
import torch

from focvs.priors.diffusion_network import DiffusionUNet2D
from focvs.priors.mean_network import DeviationUNet2D, MeanUNet2D
from focvs.priors.residual_network import ResidualUNet2D
from focvs.training.objectives import (
    LEAST_ERROR,
    diffusion_objective,
    objective_of,
    relative_error,
    residual_objective,
    surprise,
)

SMALL = {"channels": (8, 12), "blocks": (1, 1)}


def test_a_patch_counts_by_how_much_better_than_its_scan_it_is():
    clean, scan = torch.zeros(3, 1, 4, 4), torch.full((3, 1, 4, 4), 0.1)
    scan[1], scan[2] = 1.0, 1e-4
    estimate = scan / 2
    found = relative_error(estimate, clean, scan)
    assert found[:2].tolist() == pytest.approx([0.25, 0.25])
    assert float(found[2]) == pytest.approx(0.25e-8 / LEAST_ERROR)  # of a flat patch there is nothing to learn


def test_the_likelihood_is_best_at_the_true_deviation():
    torch.manual_seed(0)
    clean, mean = torch.zeros(2, 1, 64, 64), 0.04 * torch.randn(2, 1, 64, 64)
    losses = [float(surprise(torch.full_like(mean, s).log(), clean, mean).mean()) for s in (0.03, 0.04, 0.05)]
    assert losses[1] < losses[0] and losses[1] < losses[2]
    assert torch.isfinite(surprise(torch.full_like(mean, -50.0), clean, clean)).all()  # air without any error


@pytest.mark.parametrize(
    "network", [kind(**SMALL) for kind in (MeanUNet2D, DeviationUNet2D, ResidualUNet2D, DiffusionUNet2D)]
)
def test_every_network_has_its_own(network):
    clean = torch.randn(3, 5 if isinstance(network, ResidualUNet2D | DiffusionUNet2D) else 1, 16, 16)
    count = {MeanUNet2D: 1, DeviationUNet2D: 2, ResidualUNet2D: 3, DiffusionUNet2D: 0}[type(network)]
    loss, relative = objective_of(network)(network, clean, 0.1 * torch.randn(3, 5 * count, 16, 16), 0)
    assert loss.shape == relative.shape == (3,) and loss.requires_grad


def test_an_untrained_residual_of_order_one_has_a_loss_of_one():
    """Whatever the contrast: the residual is measured in deviations."""
    torch.manual_seed(0)
    mean, log = torch.randn(64, 5, 24, 24), torch.full((64, 5, 24, 24), 0.03).log()
    clean = mean + 0.03 * torch.randn(mean.shape)
    loss, _ = residual_objective(ResidualUNet2D(**SMALL), clean, torch.cat([mean, mean, log], dim=1), 0)
    assert float(loss.mean()) == pytest.approx(1.0, abs=0.05)


def test_an_untrained_diffusion_of_white_volumes_has_a_loss_of_one():
    torch.manual_seed(0)
    clean = 0.5 * torch.randn(96, 5, 24, 24)
    loss, relative = diffusion_objective(DiffusionUNet2D(**SMALL), clean, clean[:, :0], 0)
    assert float(loss.mean()) == pytest.approx(1.0, abs=0.05) and torch.equal(loss, relative)


def test_a_neighbour_that_repeats_the_slice_tells_nothing_of_it():
    """Were its noise another one, the mean of the slab would have less noise than the slice."""
    seen = []

    class Watched(DiffusionUNet2D):
        def forward(self, x, noise_condition, condition=None):
            seen.append(x)
            return super().forward(x, noise_condition, condition)

    clean = torch.randn(2, 5, 16, 16)
    clean[0] = clean[0, 2]
    clean[1, 0] = clean[1, 1]  # neighbours alike, but not like the slice in the middle
    diffusion_objective(Watched(**SMALL), clean, clean[:, :0], 0)
    alone, whole = seen[0]
    assert torch.equal(alone, alone[2:3].expand_as(alone))
    assert not torch.equal(whole[0], whole[1]) and not torch.equal(whole[1], whole[2])


def test_its_noise_is_a_function_of_the_seed():
    clean, images = torch.randn(2, 5, 16, 16), torch.randn(2, 15, 16, 16)
    first, again, other = (residual_objective(ResidualUNet2D(**SMALL), clean, images, k)[0] for k in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
