import torch
from torch import nn

from focvs.acquisition.dct import dct_matrix
from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.priors.condition import ScanCondition, middle
from focvs.priors.denoiser import EDMDenoiser
from gaussian import GaussianPrior


class Zero(nn.Module):
    sigma_data, sigma_residual, prediction = 0.5, 0.1, "edm"

    def forward(self, x, noise_condition, condition=None):
        self.seen = x, noise_condition
        return torch.zeros_like(x)


class ZeroMiddle(Zero):
    def forward(self, x, noise_condition, condition=None):
        return torch.zeros_like(middle(x))


def test_preconditioning_with_a_silent_network_is_the_wiener_filter_of_white_data():
    """F = 0 leaves c_skip x, the best denoiser of N(0, sigma_data^2), for any noise level."""
    network = Zero()
    denoise = EDMDenoiser(network)
    x = torch.randn(3, 1, 8, 8, dtype=torch.float64)
    sigma = torch.tensor([0.01, 0.5, 20.0], dtype=torch.float64)
    expected = x * (0.25 / (0.25 + sigma**2)).view(3, 1, 1, 1)
    assert torch.allclose(denoise(x, sigma), expected)
    seen, condition = network.seen
    assert torch.allclose(seen, x / (0.25 + sigma**2).sqrt().view(3, 1, 1, 1))
    assert torch.allclose(condition, sigma.log() / 4)
    assert torch.allclose(denoise(x, 0.5), x / 2)


def test_loss_of_the_silent_network_on_white_data_is_one():
    generator = torch.Generator().manual_seed(0)
    clean = 0.5 * torch.randn(4, 1, 128, 128, generator=generator)
    noise = torch.randn(4, 1, 128, 128, generator=generator)
    loss = EDMDenoiser(Zero()).loss(clean, torch.tensor([0.02, 0.1, 0.5, 2.0]), noise)
    assert torch.allclose(loss, torch.ones(4), atol=0.05)


class Noise(Zero):
    """Predicts this noise, whatever it is shown."""

    prediction = "epsilon"

    def __init__(self, noise):
        super().__init__()
        self.noise = noise

    def forward(self, x, noise_condition, condition=None):
        return middle(self.noise)


def test_a_network_that_knows_the_noise_leaves_the_clean_image():
    clean, scan, noise = torch.randn(3, 2, 3, 8, 8, dtype=torch.float64)
    sigma = torch.tensor([0.1, 2.0], dtype=torch.float64)
    for condition in (None, told(scan, [4.0, 0.0])):
        denoise = EDMDenoiser(Noise(noise))
        assert torch.allclose(denoise(clean + sigma.view(2, 1, 1, 1) * noise, sigma, condition), middle(clean))
        # of one that is silent instead the loss is the power of the noise, at every level
        silent = EDMDenoiser(Noise(torch.zeros_like(noise)))
        assert torch.allclose(silent.loss(clean, sigma, noise, condition), middle(noise).square().mean((1, 2, 3)))


def told(image, spacing_px):
    spacing = torch.as_tensor(spacing_px).to(image)
    return ScanCondition(image, spacing, spacing, torch.zeros_like(spacing))


def test_with_a_scan_the_silent_network_is_the_wiener_filter_around_it():
    """F = 0 then leaves c + s_r^2 / (s_r^2 + sigma^2) (x - c), and items without a scan stay as they were."""
    x, scan = torch.randn(2, 2, 1, 8, 8, dtype=torch.float64)
    scan[1] = 0
    out = EDMDenoiser(Zero())(x, 0.2, told(scan, [4.0, 0.0]))
    assert torch.allclose(out[0], scan[0] + 0.01 / 0.05 * (x[0] - scan[0]))
    assert torch.allclose(out[1], 0.25 / 0.29 * x[1])


def test_a_slab_is_denoised_to_its_middle():
    x, scan = torch.randn(2, 2, 3, 8, 8, dtype=torch.float64)
    alone = told(scan[:, 1:2], [4.0, 0.0])
    network = EDMDenoiser(ZeroMiddle())
    assert torch.allclose(network(x, 0.2, told(scan, [4.0, 0.0])), EDMDenoiser(Zero())(x[:, 1:2], 0.2, alone))
    sigma, noise = torch.tensor([0.2, 0.3], dtype=torch.float64), torch.randn_like(x)
    loss = EDMDenoiser(Zero()).loss(x[:, 1:2], sigma, noise[:, 1:2], alone)
    assert torch.allclose(network.loss(x, sigma, noise, told(scan, [4.0, 0.0])), loss)


def test_loss_of_the_silent_network_around_a_scan_is_one():
    generator = torch.Generator().manual_seed(0)
    scan, residual, noise = torch.randn(3, 2, 1, 128, 128, generator=generator)
    clean, sigma = scan + 0.1 * residual, torch.tensor([0.05, 0.4])
    assert torch.allclose(
        EDMDenoiser(Zero()).loss(clean, sigma, noise, told(scan, [4.0, 6.0])), torch.ones(2), atol=0.05
    )


def test_gaussian_prior_closed_forms_agree_with_samples():
    n = 24
    spectrum = 0.5 / (1 + torch.arange(n, dtype=torch.float64)) ** 1.5
    prior = GaussianPrior(torch.linspace(-1, 1, n, dtype=torch.float64), spectrum, dct_matrix(n))
    generator = torch.Generator().manual_seed(0)
    clean = prior.sample(20000, generator)
    noise = torch.randn(clean.shape, generator=generator, dtype=torch.float64)
    error = (prior(clean + 0.3 * noise, 0.3) - clean) @ prior.transform.T
    assert torch.allclose(error.square().mean(0), prior.error_spectrum(0.3), rtol=0.06)

    operator = ThroughPlaneOperator(gaussian_profile(4.0), make_grid(6, 4.0, 1.0), "edge")
    scan = operator(clean) + 0.05 * noise[:, :6]
    mean, covariance = prior.posterior(operator, scan, 0.05)
    residual = clean - mean
    measured = residual.T @ residual / len(residual)
    assert torch.allclose(measured.diagonal(), covariance.diagonal(), rtol=0.06, atol=1e-5)
    assert float((residual * mean).mean()) == 0 or abs(float((residual * mean).mean())) < 5e-3
