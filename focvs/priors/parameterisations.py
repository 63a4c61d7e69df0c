"""What other libraries' networks predict, turned into D(x, sigma): the one adapter of parameterisations.

Everywhere x = clean + sigma * noise is the variance-exploding view of prior units. A variance-preserving network sees
x_t = a x with a = 1 / sqrt(1 + sigma^2) and s = sigma a, so x_t = a clean + s noise; a rectified flow sees
x_t = (1 - t) clean + t noise with t = sigma / (1 + sigma).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from focvs.priors.denoiser import per_item

RawNetwork = Callable[[Tensor, Tensor], Tensor]

VARIANCE_PRESERVING = ("epsilon", "sample", "v_prediction", "flow")
RECTIFIED = ("velocity", "velocity_reversed")
EDM = ("edm", "edm_v_prediction")
PREDICTIONS = VARIANCE_PRESERVING + RECTIFIED + EDM


class VariancePreserving(nn.Module):
    """D from a network trained on x_t = a clean + s noise.

    Args:
        network: maps x_t ``(b, c, ...)`` and timesteps ``(b,)``, fractional ones too, to its prediction.
        alphas_cumprod: ``(timesteps,)`` a^2 of each timestep, descending.
        prediction: ``epsilon`` (noise; Ho et al. 2020, equation 9), ``sample`` (clean), ``v_prediction``
            (a noise - s clean; Salimans and Ho 2022, section 4) or ``flow`` (noise - clean on the variance-preserving
            path, as MedForj).

    Raises:
        ValueError: for another prediction, or a table that is not descending within (0, 1).
    """

    def __init__(self, network: RawNetwork, alphas_cumprod: Tensor, prediction: str):
        super().__init__()
        if prediction not in VARIANCE_PRESERVING:
            raise ValueError(f"prediction={prediction} is not one of {', '.join(VARIANCE_PRESERVING)}.")
        table = alphas_cumprod.double().cpu()
        table = table[table > 0]  # a schedule rescaled to zero terminal SNR ends in pure noise
        if len(table) < 2 or not bool((table.diff() < 0).all()) or float(table[0]) >= 1:
            raise ValueError("alphas_cumprod must descend strictly between 1 and 0.")
        self.network, self.prediction = network, prediction
        self.log_sigmas = ((1 - table) / table).log().numpy() / 2

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        # a tensor comes back from its device for this, and some devices have no float64
        levels = np.log(sigma.cpu().double().numpy() if isinstance(sigma, Tensor) else sigma)
        timesteps = np.interp(levels, self.log_sigmas, np.arange(len(self.log_sigmas)))
        told = torch.from_numpy(timesteps) if isinstance(sigma, Tensor) and sigma.ndim else float(timesteps)
        s = _column(per_item(sigma, x), x)
        a = 1 / (1 + s**2).sqrt()
        noisy, s = a * x, a * s
        out = self.network(noisy, per_item(told, x)).to(x.dtype)
        if self.prediction == "epsilon":
            return (noisy - s * out) / a
        if self.prediction == "sample":
            return out
        if self.prediction == "v_prediction":
            return a * noisy - s * out
        return (noisy - s * out) / (a + s)


class RectifiedFlow(nn.Module):
    """D from a velocity on the straight path x_t = (1 - t) clean + t noise (Liu et al. 2023, equation 1).

    Args:
        network: maps x_t and ``t * timesteps`` to the velocity.
        prediction: ``velocity`` is noise - clean (Stable Diffusion 3, diffusers), ``velocity_reversed`` is
            clean - noise (MONAI's RFlowScheduler, MAISI).
        timesteps: what t = 1 is called.

    Raises:
        ValueError: for another prediction.
    """

    def __init__(self, network: RawNetwork, prediction: str, timesteps: int = 1000):
        super().__init__()
        if prediction not in RECTIFIED:
            raise ValueError(f"prediction={prediction} is not one of {', '.join(RECTIFIED)}.")
        self.network, self.timesteps = network, timesteps
        self.sign = 1.0 if prediction == "velocity" else -1.0

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        level = per_item(sigma, x)
        t = level / (1 + level)
        noisy = x * _column(1 - t, x)
        velocity = self.sign * self.network(noisy, t * self.timesteps).to(x.dtype)
        return noisy - _column(t, x) * velocity


class EDMPreconditioned(nn.Module):
    """D from a raw network under diffusers' EDM schedulers (Karras et al. 2022, equation 7).

    Args:
        network: maps c_in x and log(sigma) / 4 to its output.
        sigma_data: standard deviation of clean images the network was trained with.
        prediction: ``edm`` (c_out as in the paper) or ``edm_v_prediction`` (its negative, as diffusers has it).

    Raises:
        ValueError: for another prediction.
    """

    def __init__(self, network: RawNetwork, sigma_data: float = 0.5, prediction: str = "edm"):
        super().__init__()
        if prediction not in EDM:
            raise ValueError(f"prediction={prediction} is not one of {', '.join(EDM)}.")
        self.network, self.sigma_data = network, sigma_data
        self.sign = 1.0 if prediction == "edm" else -1.0

    def forward(self, x: Tensor, sigma: float | Tensor) -> Tensor:
        level = per_item(sigma, x)
        s = _column(level, x)
        total = (s**2 + self.sigma_data**2).sqrt()
        out = self.sign * self.network(x / total, level.log() / 4).to(x.dtype)
        return (self.sigma_data / total) ** 2 * x + s * self.sigma_data / total * out


def make_denoiser(
    network: RawNetwork,
    prediction: str,
    alphas_cumprod: Tensor | None = None,
    timesteps: int = 1000,
    sigma_data: float = 0.5,
) -> nn.Module:
    """D(x, sigma) of a network and what it predicts, one of :data:`PREDICTIONS`.

    Raises:
        ValueError: for an unknown prediction, or a variance-preserving one without ``alphas_cumprod``.
    """
    if prediction in RECTIFIED:
        return RectifiedFlow(network, prediction, timesteps)
    if prediction in EDM:
        return EDMPreconditioned(network, sigma_data, prediction)
    if prediction in VARIANCE_PRESERVING:
        if alphas_cumprod is None:
            raise ValueError(f"prediction={prediction} needs the noise schedule the network was trained with.")
        return VariancePreserving(network, alphas_cumprod, prediction)
    raise ValueError(f"prediction={prediction} is not known; choose one of {', '.join(PREDICTIONS)}.")


def _column(values: Tensor, x: Tensor) -> Tensor:
    return values.view(-1, *[1] * (x.ndim - 1))
