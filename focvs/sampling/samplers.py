"""Samplers: free functions of one signature, from a noisy start to a volume consistent with the scan.

Every sampler takes ``(denoise, consistency, scan, x, sigmas, noise, callback)``: the denoiser ``D(x, sigma)``;
the replacement rule; the scan ``(..., m)`` in prior units; the start ``x`` ``(b, ..., n)`` at noise level
``sigmas[0]``; the descending noise levels ``(steps,)``; the source of noise, one generator per item of the
batch; and a function called with the number of levels done. It returns the clean estimate after the last level.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.priors.denoiser import Denoiser
from focvs.sampling.noise_schedule import ancestral_split

Callback = Callable[[int], None]


class ReplacementRule(Protocol):
    """What samplers need of a rule, such as :class:`focvs.sampling.consistency.Consistency`.

    ``renoise(x, denoised, clean, level, noise)`` is the rule's own way from a level to the next one, or None where the
    sampler's holds.
    """

    @property
    def replace(self) -> Callable[[Tensor, Tensor, int], Tensor]: ...

    @property
    def draw(self) -> Callable[[Tensor, Tensor, int, Tensor, Tensor], Tensor]: ...

    @property
    def renoise(self) -> Callable[[Tensor, Tensor, Tensor, int, Tensor], Tensor] | None: ...


class NoiseSource:
    """White noise from one CPU generator per sample, so that a sample is the same in any batch on any device."""

    def __init__(self, seeds: Sequence[int]):
        self.generators = [torch.Generator().manual_seed(s) for s in seeds]

    def like(self, x: Tensor) -> Tensor:
        """Unit white noise shaped as ``x``, whose first axis is the sample.

        Raises:
            ValueError: if the first axis is not one item per generator.
        """
        if x.shape[0] != len(self.generators):
            raise ValueError(f"noise for {x.shape[0]} samples was asked of {len(self.generators)} generators.")
        rows = [torch.randn(x.shape[1:], generator=g, dtype=x.dtype) for g in self.generators]
        return torch.stack(rows).to(x.device)


def dpmpp_2m(
    denoise: Denoiser,
    consistency: ReplacementRule,
    scan: Tensor,
    x: Tensor,
    sigmas: Tensor,
    noise: NoiseSource,
    callback: Callback | None = None,
) -> Tensor:
    """Second-order multistep exponential integrator on d' (Lu et al. 2022, DPM-Solver++, algorithm 2)."""
    levels = sigmas.tolist()
    previous: Tensor | None = None
    for i, sigma in enumerate(levels):
        denoised = consistency.replace(denoise(x, sigma), scan, i)
        if callback:
            callback(i + 1)
        if i + 1 == len(levels):
            return denoised
        following = levels[i + 1]
        direction = denoised
        if previous is not None:
            ratio = _log_step(levels[i - 1], sigma) / _log_step(sigma, following)
            direction = denoised + (denoised - previous) / (2 * ratio)
        x = (following / sigma) * x + (1 - following / sigma) * direction
        previous = denoised
    raise ValueError("a schedule needs at least one level.")


def ddim(
    denoise: Denoiser,
    consistency: ReplacementRule,
    scan: Tensor,
    x: Tensor,
    sigmas: Tensor,
    noise: NoiseSource,
    callback: Callback | None = None,
    eta: float = 0.0,
) -> Tensor:
    """DDIM in sigma-space (Song et al. 2021, equation 12), the noise direction taken from d'.

    ``eta`` = 0 is deterministic, 1 is ancestral sampling.
    """
    levels = sigmas.tolist()
    for i, sigma in enumerate(levels):
        denoised = denoise(x, sigma)
        clean = consistency.replace(denoised, scan, i)
        if callback:
            callback(i + 1)
        if i + 1 == len(levels):
            return clean
        if consistency.renoise is not None:
            x = consistency.renoise(x, denoised, clean, i, noise.like(x))
            continue
        kept, fresh = ancestral_split(sigma, levels[i + 1], eta)
        x = clean + kept * (x - clean)
        if fresh:
            x = x + fresh * noise.like(x)
    raise ValueError("a schedule needs at least one level.")


def ddpm(
    denoise: Denoiser,
    consistency: ReplacementRule,
    scan: Tensor,
    x: Tensor,
    sigmas: Tensor,
    noise: NoiseSource,
    callback: Callback | None = None,
) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, algorithm 2) on d'; with the ``ddnm`` rule this is DDNM's algorithm 1.

    A rule with a way of its own to the next level, such as DDNM+ and DDRM, is given it.
    """
    return ddim(denoise, consistency, scan, x, sigmas, noise, callback, eta=1.0)


def resample(
    denoise: Denoiser,
    consistency: ReplacementRule,
    scan: Tensor,
    x: Tensor,
    sigmas: Tensor,
    noise: NoiseSource,
    callback: Callback | None = None,
    spread: float = 1.0,
) -> Tensor:
    """One exact draw from N(d, C_t) given y per level, then noise again (design section 2).

    Needs the error spectra; with the exact C_t of a Gaussian prior every level's draw is an exact posterior
    sample, so the levels may be few. Where there is no rule it is the draw from N(d, C_t) itself. ``spread`` scales
    the draw about its mean: C_t knows nothing of how errors go together in-plane, so a draw is grainier than the error
    it stands for, and 0 (every level starts again from the posterior mean) has the best mean.
    """
    levels = sigmas.tolist()
    for i, sigma in enumerate(levels):
        denoised = denoise(x, sigma)
        scan_noise = noise.like(scan.expand(len(x), *scan.shape[1:]))
        clean = consistency.draw(denoised, scan, i, spread * noise.like(x), spread * scan_noise)
        if callback:
            callback(i + 1)
        if i + 1 == len(levels):
            return clean
        x = clean + levels[i + 1] * noise.like(x)
    raise ValueError("a schedule needs at least one level.")


def dps(
    denoise: Denoiser,
    consistency: ReplacementRule,
    scan: Tensor,
    x: Tensor,
    sigmas: Tensor,
    noise: NoiseSource,
    callback: Callback | None = None,
    *,
    operator: ThroughPlaneOperator,
    strength: float = 1.0,
) -> Tensor:
    """Diffusion posterior sampling (Chung et al. 2023, algorithm 1): a gradient where the others replace.

    After each ancestral step x moves by -``strength`` / s^2 times the gradient of |y - A D(x)|^2 / 2, s the largest
    singular value of A, so that a strength of 1 suits every operator and size. (The paper divides by |y - A D(x)|
    instead, which depends on the number of voxels.) The gradient goes through the network, which takes as long again
    and more. The rule is not used.
    """
    levels = sigmas.tolist()
    step = strength / float(operator.svd[1][0]) ** 2
    for i, sigma in enumerate(levels):
        last = i + 1 == len(levels)
        with torch.enable_grad():
            known = x.detach().requires_grad_(not last)
            denoised = denoise(known, sigma)
            if not last:
                misfit = (scan - operator(denoised)).square().sum() / 2
                (gradient,) = torch.autograd.grad(misfit, known)
        denoised = denoised.detach()
        if callback:
            callback(i + 1)
        if last:
            return denoised
        kept, fresh = ancestral_split(sigma, levels[i + 1], 1.0)
        x = denoised + kept * (x - denoised) + fresh * noise.like(x) - step * gradient
    raise ValueError("a schedule needs at least one level.")


SAMPLERS: dict[str, Callable[..., Tensor]] = {
    "dpmpp_2m": dpmpp_2m,
    "resample": resample,
    "ddim": ddim,
    "ddpm": ddpm,
    "dps": dps,
}


def _log_step(sigma: float, following: float) -> float:
    """Step in lambda = -log sigma."""
    return float(torch.log(torch.tensor(sigma / following, dtype=torch.float64)))
