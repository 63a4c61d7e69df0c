"""Noise levels in sigma-space."""

from __future__ import annotations

import torch
from torch import Tensor


def karras_sigmas(steps: int, sigma_start: float = 0.8, sigma_end: float = 0.02, rho: float = 7.0) -> Tensor:
    """``(steps,)`` descending noise levels (Karras et al. 2022, equation 5), float64, without a trailing zero.

    Args:
        steps: number of levels, each one evaluation of the denoiser.
        sigma_start: first and largest level, in prior units.
        sigma_end: last level.
        rho: how strongly levels crowd towards ``sigma_end``.

    Raises:
        ValueError: unless steps >= 1 and sigma_start > sigma_end > 0.
    """
    if steps < 1 or not sigma_start > sigma_end > 0:
        raise ValueError(
            f"steps={steps}, sigma_start={sigma_start}, sigma_end={sigma_end}: need steps >= 1 and start > end > 0."
        )
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    low, high = sigma_end ** (1 / rho), sigma_start ** (1 / rho)
    return (high + ramp * (low - high)) ** rho


def ancestral_split(sigma: float, following: float, eta: float = 1.0) -> tuple[float, float]:
    """Factor of the old noise kept and strength of the fresh noise in a DDIM step (Song et al. 2021, equation 16).

    x' = d + kept (x - d) + fresh z has noise of level ``following`` where x has that of ``sigma``.

    Args:
        sigma: noise level now.
        following: the next, lower one.
        eta: 0 is deterministic, 1 ancestral sampling.
    """
    fresh = eta * following * (1 - (following / sigma) ** 2) ** 0.5
    return (following**2 - fresh**2) ** 0.5 / sigma, fresh
