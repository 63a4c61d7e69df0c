"""What each network learns by: a mean, the deviation of its error, a diffusion of the residual or of volumes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from focvs.priors.condition import middle
from focvs.priors.denoiser import EDMDenoiser
from focvs.priors.diffusion_network import DiffusionUNet2D
from focvs.priors.mean_network import DeviationUNet2D, MeanUNet2D, SlabUNet2D
from focvs.priors.residual_network import ResidualDenoiser, ResidualUNet2D, as_image, deviation_scale

LEAST_ERROR = 2e-4  # mean square error of the interpolated scan below which the weight of a patch stops growing
LEAST_DEVIATION = 1e-3  # prior units: errors smaller than this tell nothing more
SIGMA_LOG_MEAN, SIGMA_LOG_STD, SIGMA_RANGE = -0.2, 1.3, (0.03, 25.0)  # noise levels of the residual, lognormal
IMAGE_LOG_MEAN, IMAGE_LOG_STD, IMAGE_RANGE = -1.2, 1.2, (0.005, 3.5)  # of an unconditional prior, prior units
MOST_RESIDUAL = 8.0  # deviations, beyond which a residual is cut

# loss of each patch, and how much of what there was it leaves, both ``(b,)``
Objective = Callable[[SlabUNet2D, Tensor, Tensor, int], tuple[Tensor, Tensor]]


def objective_of(network: SlabUNet2D) -> Objective:
    """How a network learns from clean slices or slabs, the images that it sees, and a seed of fresh noise."""
    if isinstance(network, ResidualUNet2D):
        return residual_objective
    if isinstance(network, DiffusionUNet2D):
        return diffusion_objective
    return deviation_objective if isinstance(network, DeviationUNet2D) else mean_objective


def mean_objective(network: SlabUNet2D, clean: Tensor, images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """:func:`relative_error` of a mean."""
    assert isinstance(network, MeanUNet2D)
    relative = relative_error(network(images), clean, _slice_of(images, network.slab, 0))
    return relative, relative


def deviation_objective(network: SlabUNet2D, clean: Tensor, images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """:func:`surprise` of a deviation, and the relative error of the mean it is of."""
    assert isinstance(network, DeviationUNet2D)
    mean = _slice_of(images, network.slab, -1)
    return surprise(network(images), clean, mean), relative_error(mean, clean, _slice_of(images, network.slab, 0))


def residual_objective(network: SlabUNet2D, clean: Tensor, images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Denoising loss of the residual of slabs; images are slabs of the scan, the mean and the logarithm of s."""
    assert isinstance(network, ResidualUNet2D)
    scan, mean, log_deviation = images.split(network.slab, dim=1)
    residual = ((clean - mean) / deviation_scale(log_deviation)).clamp(-MOST_RESIDUAL, MOST_RESIDUAL)
    sigma, noise = _noise_of(residual, seed, SIGMA_LOG_MEAN, SIGMA_LOG_STD, SIGMA_RANGE)
    told = torch.cat([scan, mean, as_image(log_deviation)], dim=1)
    loss = ResidualDenoiser(network).loss(residual, told, sigma, noise)
    return loss, loss


def diffusion_objective(network: SlabUNet2D, clean: Tensor, images: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Denoising loss of slabs, which see nothing else.

    A neighbour that only repeats the slice has its noise as well: another noise of the same slice would tell of it.
    """
    assert isinstance(network, DiffusionUNet2D)
    sigma, noise = _noise_of(clean, seed, IMAGE_LOG_MEAN, IMAGE_LOG_STD, IMAGE_RANGE)
    repeated = (clean == middle(clean)).flatten(2).all(-1)[..., None, None]
    loss = EDMDenoiser(network).loss(clean, sigma, torch.where(repeated, middle(noise), noise))
    return loss, loss


def _noise_of(
    clean: Tensor, seed: int, log_mean: float, log_std: float, limits: tuple[float, float]
) -> tuple[Tensor, Tensor]:
    """Lognormal noise levels ``(b,)`` and standard normal noise like ``clean``."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randn(len(clean), generator=generator)
    sigma = (log_mean + log_std * white).exp().clamp(*limits).to(clean)
    return sigma, torch.randn(clean.shape, generator=generator).to(clean)


def relative_error(estimate: Tensor, clean: Tensor, interpolated: Tensor) -> Tensor:
    """Mean square error of each patch over that of its interpolated scan, ``(b,)``: easy and hard ones count alike."""
    error = (estimate - clean).square().flatten(1).mean(1)
    return error / (interpolated - clean).square().flatten(1).mean(1).clamp_min(LEAST_ERROR)


def surprise(log_deviation: Tensor, clean: Tensor, mean: Tensor) -> Tensor:
    """Negative log likelihood of the error of each patch under N(0, s^2), less a constant, ``(b,)``."""
    variance = (2 * log_deviation).exp() + LEAST_DEVIATION**2
    return ((mean - clean).square() / variance + variance.log()).flatten(1).mean(1) / 2


def _slice_of(images: Tensor, slab: int, which: int) -> Tensor:
    """The middle slice ``(b, 1, h, w)`` of one of the images."""
    return middle(images.split(slab, dim=1)[which])
