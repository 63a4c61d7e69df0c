"""Noise-aware rules of the literature that act on every singular value of the operator by itself: DDNM+ and DDRM.

Both are ancestral samplers as much as replacement rules: how much of the scan is let in at a level follows from
the noise the next level still has room for, and what the scan brings of its own noise is left out of the fresh noise.
With A = U diag(s) V^T, everything happens in the coordinates V^T x; directions the scan says nothing about are left to
the prior. They are used with ``sampler=ddpm``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property

import torch
from torch import Tensor

from focvs.acquisition.linear_operator import MatrixOperator
from focvs.acquisition.resident import resident
from focvs.sampling.noise_schedule import ancestral_split


class SpectralRule(ABC):
    """What DDNM+ and DDRM share: K_t = V diag(w_t / s) U^T, and fresh noise of its own strength in every direction.

    Args:
        operator: the through-plane operator.
        sigmas: ``(levels,)`` descending noise levels of the schedule.
        noise_sigma: noise of the scan in prior units.

    Raises:
        ValueError: if the operator has a singular value of zero.
    """

    def __init__(self, operator: MatrixOperator, sigmas: Sequence[float], noise_sigma: float):
        self.operator, self.noise_sigma = operator, noise_sigma
        self.levels = [*map(float, sigmas), 0.0]
        left, self._values, self._right = operator.svd
        if float(self._values.min()) <= 0:
            raise ValueError("the operator has singular values of zero: some slices repeat others.")
        self._inverse = (left / self._values).T  # diag(1 / s) U^T, slices to coordinates
        self._scan_noise = noise_sigma / self._values  # of U^T y / s, per coordinate

    @cached_property
    def _weights(self) -> list[Tensor]:
        return [self.weights(level) for level in range(len(self.levels) - 1)]

    @cached_property
    def _strengths(self) -> list[Tensor]:
        return [self.strengths(level) for level in range(len(self.levels) - 1)]

    @abstractmethod
    def strengths(self, level: int) -> Tensor:
        """``(m,)`` of the fresh noise along each singular vector."""

    def replace(self, denoised: Tensor, scan: Tensor, level: int) -> Tensor:
        """d + K_t (y - A d), ``(..., n)``; after the last level the estimate itself, whose noise must be nothing."""
        weight = resident(self._weights[level], denoised)
        inverse, right = resident(self._inverse, denoised), resident(self._right, denoised)
        missing = (scan.to(denoised) - self.operator(denoised)) @ inverse.T
        return denoised + (missing * weight) @ right

    def prepare(self, like: Tensor, levels: int) -> None:
        """Lay the operator, and weights and strengths of all levels, on the device of ``like``."""
        self.operator(like)
        for tensor in (*self._weights[:levels], *self._strengths[:levels], self._inverse, self._right):
            resident(tensor, like)

    @abstractmethod
    def weights(self, level: int) -> Tensor:
        """``(m,)`` how much of the scan is let in along each singular vector."""

    @abstractmethod
    def renoise(self, x: Tensor, denoised: Tensor, clean: Tensor, level: int, noise: Tensor) -> Tensor:
        """``x`` at the next level from ``x`` at this one, the prior's estimate, the replaced one, and unit noise."""

    def draw(self, denoised: Tensor, scan: Tensor, level: int, noise: Tensor, scan_noise: Tensor) -> Tensor:
        """Refused: these rules have no error covariance to draw from."""
        raise ValueError("consistency=ddnm_plus and ddrm have no draws; use sampler=ddpm.")

    def _shaped(self, noise: Tensor, measured: Tensor, unseen: float) -> Tensor:
        """Noise of strength ``measured`` ``(m,)`` along the singular vectors and ``unseen`` across them."""
        right = resident(self._right, noise)
        return unseen * noise + ((noise @ right.T) * (resident(measured, noise) - unseen)) @ right


class DDNMPlus(SpectralRule):
    """DDNM+ (Wang et al. 2023, equations 17-19 and appendix I), in sigma-space.

    One ancestral step is x' = (1 - k) d' + k x + f z. The scan's noise sigma_y / s along a singular vector comes into
    x' (1 - k) times, so w = min(1, f s / ((1 - k) sigma_y)) keeps it below f, and the fresh noise is what is missing:
    sqrt(f^2 - ((1 - k) w sigma_y / s)^2).
    """

    def weights(self, level: int) -> Tensor:
        kept, fresh = ancestral_split(self.levels[level], self.levels[level + 1])
        room = fresh / ((1 - kept) * self._scan_noise.clamp_min(1e-30))
        return room.clamp(max=1.0) if self.noise_sigma > 0 else torch.ones_like(room)

    def renoise(self, x: Tensor, denoised: Tensor, clean: Tensor, level: int, noise: Tensor) -> Tensor:
        kept, fresh = ancestral_split(self.levels[level], self.levels[level + 1])
        return clean + kept * (x - clean) + self._shaped(noise, self._strengths[level], fresh)

    def strengths(self, level: int) -> Tensor:
        kept, fresh = ancestral_split(self.levels[level], self.levels[level + 1])
        brought = (1 - kept) * self.weights(level) * self._scan_noise
        return (fresh**2 - brought**2).clamp_min(0.0).sqrt()


class DDRM(SpectralRule):
    """DDRM (Kawar et al. 2022, equations 7 and 8, eta_b = 1).

    Along a singular vector whose scan noise sigma_y / s is below the next level sigma', the value of the scan is taken
    and noise is added up to sigma'. Where it is above, the prior's estimate is taken and moved towards the scan by the
    fraction sqrt(1 - eta^2) sigma' / (sigma_y / s) of their difference.

    Args:
        eta: how much of the noise is fresh at every level; 0.85 in the paper.
    """

    def __init__(self, operator: MatrixOperator, sigmas: Sequence[float], noise_sigma: float, eta: float = 0.85):
        super().__init__(operator, sigmas, noise_sigma)
        self.eta = eta

    def weights(self, level: int) -> Tensor:
        following = self.levels[level + 1]
        partly = (1 - self.eta**2) ** 0.5 * following / self._scan_noise.clamp_min(1e-30)
        return torch.where(self._scan_noise <= following, torch.ones_like(partly), partly)

    def renoise(self, x: Tensor, denoised: Tensor, clean: Tensor, level: int, noise: Tensor) -> Tensor:
        sigma, following = self.levels[level], self.levels[level + 1]
        right = resident(self._right, x)
        direction = (x - denoised) - ((x - denoised) @ right.T) @ right  # of the noise, where the scan is blind
        kept = (1 - self.eta**2) ** 0.5 * following / sigma
        return clean + kept * direction + self._shaped(noise, self._strengths[level], self.eta * following)

    def strengths(self, level: int) -> Tensor:
        following = self.levels[level + 1]
        below = (following**2 - self._scan_noise**2).clamp_min(0.0).sqrt()
        return torch.where(self._scan_noise <= following, below, torch.full_like(below, self.eta * following))
