"""Slice profiles: how much each depth contributes to a slice. All positions and widths in mm."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

ProfileKind = Literal["gaussian", "rect", "slr", "kspace", "sampled"]
KSPACE_LOBES = 4  # of the sinc of a 3D scan on each side, under a Lanczos window
GAUSSIAN_TAIL = 1e-4  # weight per side beyond which a Gaussian slice counts as ended


@dataclass(frozen=True, eq=False)
class SliceProfile:
    """A slice profile p(z) of unit area, known by its cumulative integral.

    Attributes:
        kind: where it came from.
        fwhm_mm: full width at half maximum in mm.
        half_support_mm: beyond this distance from the slice centre the profile is zero (Gaussian: negligible).
        positions_mm: knots of a piecewise-linear density, for ``slr``, ``kspace`` and ``sampled``.
        density: density at the knots, unit area.
    """

    kind: ProfileKind
    fwhm_mm: float
    half_support_mm: float
    positions_mm: Tensor | None = None
    density: Tensor | None = None

    def cumulative(self, z_mm: Tensor) -> Tensor:
        """Integral of the profile from -infinity to ``z_mm`` (any shape, float64)."""
        z = z_mm.double()
        if self.kind == "gaussian":
            return torch.special.ndtr(z / _sigma_of_fwhm(self.fwhm_mm))
        if self.kind == "rect":
            return (z / self.fwhm_mm + 0.5).clamp(0, 1)
        assert self.positions_mm is not None and self.density is not None
        return _integrate_linear(self.positions_mm, self.density, z)

    def scaled(self, factor: float) -> SliceProfile:
        """The same shape ``factor`` times as wide: with 1 / pixel size, the profile in pixels."""
        positions = None if self.positions_mm is None else self.positions_mm * factor
        density = None if self.density is None else self.density / factor
        return SliceProfile(self.kind, self.fwhm_mm * factor, self.half_support_mm * factor, positions, density)

    def __repr__(self) -> str:
        return f"SliceProfile({self.kind}, FWHM {self.fwhm_mm:.3g} mm, support +-{self.half_support_mm:.3g} mm)"


def gaussian_profile(fwhm_mm: float) -> SliceProfile:
    """Gaussian of full width at half maximum ``fwhm_mm``, the usual model of a 2D multi-slice excitation."""
    reach = -float(torch.special.ndtri(torch.tensor(GAUSSIAN_TAIL, dtype=torch.float64)))
    return SliceProfile("gaussian", _positive(fwhm_mm), reach * _sigma_of_fwhm(fwhm_mm))


def rect_profile(fwhm_mm: float) -> SliceProfile:
    """Ideal rectangular slice of width ``fwhm_mm``."""
    return SliceProfile("rect", _positive(fwhm_mm), fwhm_mm / 2)


def slr_profile(fwhm_mm: float, time_bandwidth: float = 4.0, ripple: float = 0.01) -> SliceProfile:
    """Excitation profile of a 90 degree Shinnar-Le Roux pulse scaled to ``fwhm_mm``.

    The B polynomial is a linear-phase least-squares low-pass filter with the transition width of
    D_inf(ripple, ripple) / time_bandwidth; the profile is 2 |A||B| with |A|^2 = 1 - |B|^2
    (Pauly et al., IEEE TMI 10(1), 1991, equations 9, 30 and table II).

    Args:
        fwhm_mm: full width at half maximum of the magnitude profile in mm.
        time_bandwidth: time-bandwidth product of the pulse; larger is closer to a rectangle.
        ripple: pass- and stop-band ripple the transition width is designed for.
    """
    _positive(fwhm_mm)
    flat = math.log10(ripple)
    d_infinity = (5.309e-3 * flat**2 + 7.114e-2 * flat - 4.761e-1) * flat + (
        -2.66e-3 * flat**2 - 5.941e-1 * flat - 4.278e-1
    )
    transition = d_infinity / time_bandwidth
    taps = 64
    edge = time_bandwidth / taps  # band edge as a fraction of the Nyquist frequency
    frequency = torch.linspace(0, 1, 4096, dtype=torch.float64)
    passed, stopped = frequency <= edge * (1 - transition / 2), frequency >= edge * (1 + transition / 2)
    used = passed | stopped
    basis = torch.cos(math.pi * frequency[:, None] * (torch.arange(taps // 2, dtype=torch.float64) + 0.5))
    taps_half = torch.linalg.lstsq(basis[used], passed[used].double()[:, None]).solution
    position = torch.linspace(-4, 4, 1601, dtype=torch.float64)  # in half band widths
    response = torch.cos(math.pi * edge * position.abs()[:, None] * (torch.arange(taps // 2) + 0.5)) @ taps_half
    b = response[:, 0].abs().clamp(max=math.sqrt(2)) / math.sqrt(2)
    magnitude = 2 * b * (1 - b**2).clamp_min(0).sqrt()
    magnitude[magnitude < 1e-3 * magnitude.max()] = 0
    scale = fwhm_mm / _measure_fwhm(position, magnitude)
    return _from_knots("slr", position * scale, magnitude)


def kspace_profile(thickness_mm: float) -> SliceProfile:
    """Partitions of a 3D scan: k-space along the slice axis cut off at 1 / (2 thickness), a sinc with negative lobes.

    A Lanczos window of 4 lobes stands for the filter of the scanner and ends the profile.

    Args:
        thickness_mm: nominal thickness of a partition, slab over partitions; the FWHM is about 1.18 times that.
    """
    position = torch.linspace(-KSPACE_LOBES, KSPACE_LOBES, 200 * KSPACE_LOBES + 1, dtype=torch.float64)
    density = torch.sinc(position) * torch.sinc(position / KSPACE_LOBES)
    position = position * _positive(thickness_mm)
    density = density / torch.trapezoid(density, position)
    return SliceProfile("kspace", _measure_fwhm(position, density), float(position[-1]), position, density)


def sampled_profile(samples: Tensor, fwhm_mm: float | None = None) -> SliceProfile:
    """A measured or estimated profile.

    Args:
        samples: ``(k,)`` non-negative weights at equal distances, a shape that is scaled to ``fwhm_mm``; or
            ``(k, 2)`` with positions in mm (ascending) and weights, used as it is.
        fwhm_mm: required for ``(k,)``.

    Raises:
        ValueError: for another shape, negative or all-zero weights, or positions that do not ascend.
    """
    samples = samples.double()
    if samples.ndim == 2 and samples.shape[1] == 2:
        position, weight = samples[:, 0], samples[:, 1]
    elif samples.ndim == 1:
        position, weight = torch.arange(len(samples), dtype=torch.float64), samples
    else:
        raise ValueError(
            f"a slice profile has shape {tuple(samples.shape)}; "
            "give (k,) weights or (k, 2) positions in mm and weights."
        )
    if len(weight) < 3 or (weight < 0).any() or weight.sum() <= 0 or not torch.isfinite(samples).all():
        raise ValueError("a slice profile needs at least 3 finite non-negative weights, not all zero.")
    if (position.diff() <= 0).any():
        raise ValueError("the positions of a slice profile must ascend.")
    padded = torch.cat([position[:1] - position.diff()[:1], position, position[-1:] + position.diff()[-1:]])
    weight = torch.cat([weight.new_zeros(1), weight, weight.new_zeros(1)])
    if samples.ndim == 1:
        if fwhm_mm is None:
            raise ValueError("a (k,) slice profile is a shape without a scale: give its FWHM in mm.")
        padded = padded * (_positive(fwhm_mm) / _measure_fwhm(padded, weight))
    area = torch.trapezoid(weight, padded)
    centre = torch.trapezoid(weight * padded, padded) / area
    return _from_knots("sampled", padded - centre if samples.ndim == 1 else padded, weight)


def make_profile(kind: str, fwhm_mm: float, **options: Any) -> SliceProfile:
    """Profile by name: ``gaussian``, ``rect`` or ``slr`` of FWHM ``fwhm_mm``, or ``kspace`` of that thickness.

    Raises:
        ValueError: if the name is none of these.
    """
    if kind not in SHAPES:
        raise ValueError(f"profile={kind} is not known; choose one of {', '.join(SHAPES)} or a .npy file.")
    return SHAPES[kind](fwhm_mm, **options)


EXCITED: dict[str, Callable[..., SliceProfile]] = {  # slices of a 2D scan
    "gaussian": gaussian_profile,
    "rect": rect_profile,
    "slr": slr_profile,
}
SHAPES = {**EXCITED, "kspace": kspace_profile}


def _from_knots(kind: ProfileKind, position: Tensor, density: Tensor) -> SliceProfile:
    density = density / torch.trapezoid(density, position)
    inside = position[density > 0]
    reach = float(inside.abs().max()) + float(position.diff().max())
    return SliceProfile(kind, _measure_fwhm(position, density), reach, position, density)


def _measure_fwhm(position: Tensor, density: Tensor) -> float:
    """Width between the outermost crossings of half the maximum, by linear interpolation."""
    half = float(density.max()) / 2
    above = (density >= half).nonzero()[:, 0]
    first, last = int(above[0]), int(above[-1])

    def crossing(outside: int, inside: int) -> float:
        if not 0 <= outside < len(density):
            return float(position[inside])
        share = (half - density[outside]) / (density[inside] - density[outside])
        return float(position[outside] + share * (position[inside] - position[outside]))

    return crossing(last + 1, last) - crossing(first - 1, first)


def _integrate_linear(position: Tensor, density: Tensor, z: Tensor) -> Tensor:
    """Exact cumulative integral of a piecewise-linear density."""
    steps = position.diff()
    areas = torch.cat([steps.new_zeros(1), ((density[1:] + density[:-1]) / 2 * steps).cumsum(0)])
    z = z.clamp(position[0], position[-1])
    k = (torch.searchsorted(position, z.contiguous(), right=True) - 1).clamp(0, len(steps) - 1)
    t = z - position[k]
    slope = (density[k + 1] - density[k]) / steps[k]
    return areas[k] + density[k] * t + slope * t**2 / 2


def _sigma_of_fwhm(fwhm_mm: float) -> float:
    return fwhm_mm / (2 * math.sqrt(2 * math.log(2)))


def _positive(fwhm_mm: float) -> float:
    if not fwhm_mm > 0:
        raise ValueError(f"the width of a slice profile is {fwhm_mm} mm; it must be above 0.")
    return float(fwhm_mm)
