"""Consistency rules: what the scan knows replaces what the prior guessed, one matrix per noise level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from focvs.acquisition.dct import dct_matrix
from focvs.acquisition.linear_operator import MatrixOperator
from focvs.acquisition.resident import resident

SPECTRAL_RULES = ("ddnm_plus", "ddrm")  # focvs.sampling.spectral
RULES = ("calibrated", "ddnm", *SPECTRAL_RULES, "diffpir", "none")


@dataclass(frozen=True, eq=False)
class Support:
    """Columns grouped by where they pass through the head, for a two-level error covariance.

    Attributes:
        weights: ``(patterns, n)`` factor on both sides of C: 1 in the head, small in air.
        order: ``(columns,)`` column indices, sorted by pattern.
        counts: columns of each pattern.
    """

    weights: Tensor
    order: Tensor
    counts: list[int]

    @classmethod
    def from_mask(cls, mask: Tensor, air: float = 0.1) -> Support:
        """Group the columns of a boolean ``(..., n)`` head mask; ``air`` is the factor outside it."""
        columns = mask.reshape(-1, mask.shape[-1])
        patterns, member, counts = torch.unique(columns, dim=0, return_inverse=True, return_counts=True)
        weights = torch.where(patterns, 1.0, air).double()
        return cls(weights, torch.argsort(member, stable=True), counts.tolist())

    def map(self) -> Tensor:
        """The factors as ``(columns, n)`` in the original order."""
        sorted_map = torch.repeat_interleave(self.weights, torch.tensor(self.counts), dim=0)
        out = torch.empty_like(sorted_map)
        out[self.order] = sorted_map
        return out


class ReplacementRule(Protocol):
    """A consistency rule: :class:`Consistency`, several stacks' or a spectral one.

    ``renoise(x, denoised, clean, level, noise)`` is the rule's own step from a level to the next one; None where the
    step of the sampler is used.
    """

    @property
    def replace(self) -> Callable[[Tensor, Tensor, int], Tensor]: ...

    @property
    def draw(self) -> Callable[[Tensor, Tensor, int, Tensor, Tensor], Tensor]: ...

    @property
    def renoise(self) -> Callable[[Tensor, Tensor, Tensor, int, Tensor], Tensor] | None: ...

    @property
    def prepare(self) -> Callable[[Tensor, int], None]:
        """``prepare(like, levels)`` lays what the rule needs at all levels on the device of ``like``, one volume."""


@dataclass(frozen=True, eq=False)
class Measured:
    """A rule together with the scan: all that a sampler needs to know of what was measured.

    Attributes:
        rule: the replacement rule.
        scan: ``(..., m)`` slices in prior units, broadcast against the batch.
    """

    rule: ReplacementRule
    scan: Tensor

    def replace(self, denoised: Tensor, level: int) -> Tensor:
        """d' of a denoised batch ``(b, ..., n)`` at a level of the schedule."""
        return self.rule.replace(denoised, self.scan, level)

    def draw(self, denoised: Tensor, level: int, noise: Tensor, scan_noise: Tensor) -> Tensor:
        """A draw about d', from unit white noise shaped as the batch and as its scan."""
        return self.rule.draw(denoised, self.scan, level, noise, scan_noise)

    @property
    def renoise(self) -> Callable[[Tensor, Tensor, Tensor, int, Tensor], Tensor] | None:
        """The rule's own way to the next level, or None."""
        return self.rule.renoise


@dataclass
class Consistency:
    """Replacement at every level of a schedule (design section 1: d' = d + K_t (y - A d)).

    Args:
        rule: ``calibrated`` (C_t from the measured error spectrum), ``diffpir`` (C_t = sigma_t^2 / lambda I; Zhu et al.
            2023, equation 13), ``ddnm`` (K = A^+; Wang et al. 2023, equation 9) or ``none``.
        operator: the through-plane operator.
        spectra: ``(levels, n)`` error variance of the denoiser at each DCT frequency of the slice axis; needed
            by ``calibrated`` and by draws.
        noise_sigma: noise of the scan in prior units.
        support: head and air, see :class:`Support`; None treats all columns alike.
        sigmas: ``(levels,)`` noise levels of the schedule, for ``diffpir``.
        strength: lambda of ``diffpir``: the larger, the more the prior's estimate is trusted against a noisy scan.

    Raises:
        ValueError: for an unknown rule, ``calibrated`` without spectra, or ``diffpir`` without levels.
    """

    rule: str
    operator: MatrixOperator
    spectra: Tensor | None = None
    noise_sigma: float = 0.0
    support: Support | None = None
    sigmas: Sequence[float] = ()
    strength: float = 7.0
    renoise: None = field(default=None, init=False)
    _kalman_gains: dict[tuple[object, ...], list[Tensor]] = field(default_factory=dict, repr=False)
    _roots: dict[int, Tensor] = field(default_factory=dict, repr=False)
    _support_map: Tensor | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        known = [rule for rule in RULES if rule not in SPECTRAL_RULES]
        if self.rule not in known:
            raise ValueError(f"consistency={self.rule} is not known; choose one of {', '.join(known)}.")
        if self.rule == "calibrated" and self.spectra is None:
            raise ValueError("consistency=calibrated needs the prior's error spectra.")
        if self.rule == "diffpir" and not (len(self.sigmas) and self.strength > 0):
            raise ValueError("consistency=diffpir needs the noise levels and a strength above 0.")

    def covariance(self, level: int) -> Tensor:
        """C_t ``(n, n)`` in the head, float64."""
        if self.spectra is None:
            raise ValueError("an error covariance was asked for, but no error spectra were given.")
        transform = dct_matrix(self.spectra.shape[1])
        return transform.T @ (self.spectra[level].double()[:, None] * transform)

    def replace(self, denoised: Tensor, scan: Tensor, level: int) -> Tensor:
        """d' = d + K_t (y - A d), computed in float32 outside autocast.

        Args:
            denoised: ``(..., n)``.
            scan: ``(..., m)``, broadcast against ``denoised``.
            level: index into the schedule.
        """
        if self.rule == "none":
            return denoised
        kind = denoised.device.type
        with torch.autocast(kind, enabled=False) if kind in ("cpu", "cuda") else nullcontext():
            d = denoised.to(torch.promote_types(denoised.dtype, torch.float32))
            return d + self.correction(resident(scan, d) - self.operator(d), level)

    def draw(self, denoised: Tensor, scan: Tensor, level: int, noise: Tensor, scan_noise: Tensor) -> Tensor:
        """An exact draw from N(d, C_t) given y (Matheron's rule; Song et al. 2024, ReSample, with our C_t).

        Args:
            denoised: ``(..., n)``.
            scan: ``(..., m)``.
            level: index into the schedule.
            noise: ``(..., n)`` unit white noise.
            scan_noise: ``(..., m)`` unit white noise.
        """
        return self.replace(self.perturb(denoised, level, noise), scan + self.noise_sigma * scan_noise, level)

    def perturb(self, denoised: Tensor, level: int, noise: Tensor) -> Tensor:
        """A draw from N(d, C_t): d + C_t^1/2 noise, all ``(..., n)``."""
        if level not in self._roots:
            assert self.spectra is not None, "draws need error spectra"
            transform = dct_matrix(self.spectra.shape[1])
            self._roots[level] = transform.T @ (self.spectra[level].double().sqrt()[:, None] * transform)
        coloured = noise @ resident(self._roots[level], noise)
        if self.support is None:
            return denoised + coloured
        if self._support_map is None:
            self._support_map = self.support.map()
        return denoised + coloured * resident(self._support_map, noise).view(noise.shape[1:])

    def correction(self, residual: Tensor, level: int) -> Tensor:
        """K_t r: a residual ``(..., m)`` of the scan to a correction ``(..., n)`` of the volume."""
        gains = self._gains(level, residual)
        if len(gains) == 1:
            return residual @ gains[0].T
        assert self.support is not None
        flat = residual.reshape(-1, self.support.order.numel(), residual.shape[-1])
        order = resident(self.support.order, residual, keep_type=True)
        parts = flat[:, order].split(self.support.counts, dim=1)
        sorted_out = torch.cat([p @ g.T for p, g in zip(parts, gains, strict=True)], dim=1)
        out = torch.empty_like(sorted_out)
        out[:, order] = sorted_out
        return out.view(*residual.shape[:-1], -1)

    def prepare(self, like: Tensor, levels: int) -> None:
        """Lay the gains of all levels on the device of ``like`` ``(p, q, n)``, so that no step waits for them."""
        for level in range(levels):
            if self.rule != "none":
                self._gains(level, like)
            if self.spectra is not None:
                self.perturb(like[None], level, like[None])
        if self.support is not None:
            resident(self.support.order, like, keep_type=True)
        self.operator(like)

    def _gains(self, level: int, like: Tensor) -> list[Tensor]:
        key = (level, like.device, like.dtype, torch.is_inference_mode_enabled())
        if key not in self._kalman_gains:
            self._kalman_gains[key] = [gain.to(like) for gain in self._make_kalman_gains(level)]
        return self._kalman_gains[key]

    def _make_kalman_gains(self, level: int) -> list[Tensor]:
        if self.rule == "ddnm" or (self.rule == "diffpir" and not self.noise_sigma):
            return [self.operator.pseudo_inverse_matrix]
        if self.rule == "diffpir":
            unit = torch.eye(self.operator.matrix.shape[1], dtype=torch.float64)
            return [self.operator.kalman_gain(unit * float(self.sigmas[level]) ** 2 / self.strength, self.noise_sigma)]
        covariance = self.covariance(level)
        if self.support is None:
            return [self.operator.kalman_gain(covariance, self.noise_sigma)]
        weights = self.support.weights
        return [self.operator.kalman_gain(w[:, None] * covariance * w, self.noise_sigma) for w in weights]
