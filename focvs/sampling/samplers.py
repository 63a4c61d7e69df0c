"""Samplers: free functions from a noisy start to a volume consistent with the scan.

Every sampler takes the denoiser ``D(x, sigma)``, the start ``x`` ``(b, ..., n)`` at noise level ``sigmas[0]``, the
descending noise levels ``sigmas`` ``(steps,)``, and by name what else it uses: ``consistency``, the replacement rule
with the scan; ``noise``, one generator for each item of the batch; ``callback``, called with the number of levels done.
It returns the clean estimate after the last level. :func:`make_sampler` binds all of that to a name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.linear_operator import MatrixOperator
from focvs.parallel import all_cores
from focvs.priors.denoiser import Denoiser
from focvs.sampling.consistency import Measured
from focvs.sampling.noise_schedule import ancestral_split

Callback = Callable[[int], None]


class Sampler(Protocol):
    """A sampler with all bound that it uses besides."""

    def __call__(self, denoise: Denoiser, x: Tensor, sigmas: Tensor) -> Tensor: ...


class NoiseSource:
    """White noise from one generator for each sample, so that a sample is the same in any batch on one type of device.

    It is drawn on the device, where no step waits for it. The generators of samples and seeds are independent streams:
    no sample of one seed is a sample of another.

    Args:
        seed: of the run, at least 0.
        samples: numbers m of the samples, from 1.
        device: torch device that draws.
    """

    def __init__(self, seed: int, samples: Sequence[int] = (1,), device: str = "cpu"):
        self.generators = [_stream(seed, m, device) for m in samples]

    def like(self, x: Tensor) -> Tensor:
        """Unit white noise shaped as ``x``, whose first axis is the sample.

        Raises:
            ValueError: if the first axis is not one item per generator.
        """
        if x.shape[0] != len(self.generators):
            raise ValueError(f"noise for {x.shape[0]} samples was asked of {len(self.generators)} generators.")
        rows = [torch.randn(x.shape[1:], generator=g, dtype=x.dtype, device=g.device) for g in self.generators]
        return torch.stack(rows).to(x.device)


def _stream(seed: int, sample: int, device: str) -> torch.Generator:
    """The generator of a sample: a hash of both numbers as its seed (numpy's SeedSequence)."""
    (state,) = np.random.SeedSequence([seed, sample]).generate_state(1, np.uint64)
    return torch.Generator(device).manual_seed(int(state >> np.uint64(1)))


def dpmpp_2m(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, *, consistency: Measured, callback: Callback | None = None
) -> Tensor:
    """Second-order multistep exponential integrator on d' (Lu et al. 2022, DPM-Solver++, algorithm 2)."""
    levels = sigmas.tolist()
    previous: Tensor | None = None
    for i, sigma in enumerate(levels):
        denoised = consistency.replace(denoise(x, sigma), i)
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
    x: Tensor,
    sigmas: Tensor,
    *,
    consistency: Measured,
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
        clean = consistency.replace(denoised, i)
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
    x: Tensor,
    sigmas: Tensor,
    *,
    consistency: Measured,
    noise: NoiseSource,
    callback: Callback | None = None,
) -> Tensor:
    """Ancestral sampling (Ho et al. 2020, algorithm 2) on d'; with the ``ddnm`` rule this is DDNM's algorithm 1.

    A rule with a way of its own to the next level, such as DDNM+ and DDRM, is given it.
    """
    return ddim(denoise, x, sigmas, consistency=consistency, noise=noise, callback=callback, eta=1.0)


def resample(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    consistency: Measured,
    noise: NoiseSource,
    callback: Callback | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """One exact draw from N(d, C_t) given y per level, then noise again (design section 2).

    Needs the error spectra; with the exact C_t of a Gaussian prior every level's draw is an exact posterior
    sample, so the levels may be few. With the rule ``none`` it is a draw from N(d, C_t) itself. ``temperature`` scales
    the draw about its mean. C_t ignores the in-plane correlation of errors, so that a draw is grainier than a true
    error; a temperature of 0 (every level starts again from the posterior mean) therefore gives the best mean.
    """
    levels = sigmas.tolist()
    for i, sigma in enumerate(levels):
        denoised = denoise(x, sigma)
        scan_noise = noise.like(consistency.scan.expand(len(x), *consistency.scan.shape[1:]))
        clean = consistency.draw(denoised, i, temperature * noise.like(x), temperature * scan_noise)
        if callback:
            callback(i + 1)
        if i + 1 == len(levels):
            return clean
        x = clean + levels[i + 1] * noise.like(x)
    raise ValueError("a schedule needs at least one level.")


def dps(
    denoise: Denoiser,
    x: Tensor,
    sigmas: Tensor,
    *,
    operator: MatrixOperator,
    scan: Tensor,
    noise: NoiseSource,
    callback: Callback | None = None,
    strength: float = 1.0,
) -> Tensor:
    """Diffusion posterior sampling (Chung et al. 2023, algorithm 1): a gradient where the others replace.

    After each ancestral step x moves by -``strength`` / s^2 times the gradient of |y - A D(x)|^2 / 2, s the largest
    singular value of A, so that a strength of 1 suits every operator and size. (The paper divides by |y - A D(x)|
    instead, which depends on the number of voxels.) The gradient goes through the network, which takes as long again
    and more.
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
                with all_cores():
                    (gradient,) = torch.autograd.grad(misfit, known)
        denoised = denoised.detach()
        if callback:
            callback(i + 1)
        if last:
            return denoised
        kept, fresh = ancestral_split(sigma, levels[i + 1], 1.0)
        x = denoised + kept * (x - denoised) + fresh * noise.like(x) - step * gradient
    raise ValueError("a schedule needs at least one level.")


SAMPLERS = ("dpmpp_2m", "resample", "ddim", "ddpm", "dps")


def make_sampler(
    name: str,
    consistency: Measured,
    noise: NoiseSource,
    *,
    operator: MatrixOperator,
    callback: Callback | None = None,
    temperature: float = 1.0,
    eta: float = 0.0,
    guidance: float = 1.0,
) -> Sampler:
    """A sampler by name, all bound that it uses: the one place that knows which takes what.

    Args:
        name: one of :data:`SAMPLERS`.
        consistency: the replacement rule with the scan.
        noise: of the samples of the batch.
        operator: A, for ``dps``.
        callback: called with the number of levels done.
        temperature: of ``resample``.
        eta: of ``ddim``.
        guidance: strength of ``dps``.

    Raises:
        ValueError: for an unknown name.
    """
    if name == "dpmpp_2m":
        return partial(dpmpp_2m, consistency=consistency, callback=callback)
    if name == "ddim":
        return partial(ddim, consistency=consistency, noise=noise, callback=callback, eta=eta)
    if name == "ddpm":
        return partial(ddpm, consistency=consistency, noise=noise, callback=callback)
    if name == "resample":
        return partial(resample, consistency=consistency, noise=noise, callback=callback, temperature=temperature)
    if name == "dps":
        scan = consistency.scan
        return partial(dps, operator=operator, scan=scan, noise=noise, callback=callback, strength=guidance)
    raise ValueError(f"sampler={name} is not known; choose one of {', '.join(SAMPLERS)}.")


def _log_step(sigma: float, following: float) -> float:
    """Step in lambda = -log sigma."""
    return float(torch.log(torch.tensor(sigma / following, dtype=torch.float64)))
