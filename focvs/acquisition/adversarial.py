"""The width of the slice profile by a two-sample test: in-plane detail, blurred, against detail across slices.

The profile is right when windows of in-plane detail seen through it cannot be told from windows across slices. This is
the idea of ESPRESO (Han et al., IPMI 2021), which trains a generator of profiles against a discriminator. Here the
discriminator is the witness function of a kernel. Its best answer to any profile is known in closed form, so that only
one thing is left to minimise, the maximum mean discrepancy of the two sets of windows (Gretton et al., JMLR 13, 2012,
section 2.2). The kernel is a mixture of Gaussians on random Fourier features (Rahimi and Recht, NIPS 2007,
algorithm 1).

The profile is a weighted sum (softmax) of copies of one shape in many widths. It starts as nearly a single copy and
stays one unless the windows say otherwise. The windows determine the width well and the shape badly.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.estimation import FEWEST_WINDOWS, NARROWEST_PX, NO_ANISOTROPY, NO_WIDTH, ProfileEstimate
from focvs.acquisition.profile import SliceProfile, gaussian_profile, sampled_profile
from focvs.acquisition.spectra import mean_spectra, view_through, window_slices

COPIES = 28  # widths of the shape
WIDEST = (1.4, 2.2)  # widest copy in slice spacings; the second is tried where the first is too narrow
NEAR_END = 0.9  # an estimate above this part of the widest copy is too near the end
SMEAR = 0.1  # standard deviation of the log widths at the start
WINDOW = 8  # slices
MOST_WINDOWS = 2000  # of an axis and a direction, in a draw
MOST_KEPT = 20000  # of which they are drawn, evenly over the head
FEATURES = 128
KERNEL_WIDTHS = (4.0, 8.0, 16.0)  # in standard deviations of the coefficients of the highest frequency
SHAPE_PENALTY = 1.0  # on the mean squared departure from that
ITERATIONS = 30
MOST_DOUBT = 3.0  # factor by which an end of the interval may differ from the estimate
NO_DETAIL = 1e-5  # of the brightest voxel
KNOTS = 401  # of the profile
LEAST_WEIGHT = 1e-3  # of a copy that widens the support


@dataclass(frozen=True, eq=False)
class WindowPair:
    """Windows of an in-plane axis and across slices, the same data seen through each of the copies.

    Attributes:
        axis: the in-plane axis, 0 or 1.
        in_plane: ``(n, copies, d)`` coefficients of the windows along the axis.
        across: ``(k, copies, d)`` of the windows along the slice axis.
        expected: mean over heads of the log ratio of detail across slices to that along the axis.
        doubt: its standard deviation.
    """

    axis: int
    in_plane: Tensor
    across: Tensor
    expected: float
    doubt: float

    def drawn(self, generator: torch.Generator, without: int | None, parts: int) -> WindowPair:
        """Some of the windows at random, after one of ``parts`` parts of the head, number ``without``, is left out."""

        def draw(windows: Tensor) -> Tensor:
            kept = [part for index, part in enumerate(windows.tensor_split(parts)) if index != without]
            some = torch.cat(kept)
            return some[torch.randperm(len(some), generator=generator)[:MOST_WINDOWS]]

        return replace(self, in_plane=draw(self.in_plane), across=draw(self.across))


def estimate_adversarially(
    y: Tensor,
    mask: Tensor,
    pixel_mm: tuple[float, float],
    spacing_mm: float,
    make: Callable[[float], SliceProfile] = gaussian_profile,
    anisotropy: tuple[tuple[float, float], tuple[float, float]] = (NO_ANISOTROPY, NO_ANISOTROPY),
    seeds: int = 5,
) -> ProfileEstimate:
    """Slice profile from the scan; the median of several seeds.

    Each seed leaves out one part of the head and draws other windows and other features of the kernel. The 95 %
    interval adds up three things: the spread of the seeds (a jackknife, and chance), the difference between the two
    in-plane axes, and how well the anisotropy of heads is known.

    Args:
        y, mask, pixel_mm, spacing_mm, anisotropy: as for
            :func:`focvs.acquisition.estimation.estimate_profile`.
        make: the profile of a FWHM in mm: the shape of the copies.
        seeds: number of seeds, at least 2.

    Raises:
        ValueError: if the scan does not tell: too few slices of head, pixels as coarse as the slices, no detail, or a
            profile narrower than a pixel or wider than 2 spacings, or an interval of more than a factor of 3 either
            way; or for fewer seeds.
    """
    if seeds < 2:
        raise ValueError(f"seeds={seeds} must be at least 2.")
    window_slices(mask, pixel_mm, spacing_mm)  # refuses what no estimator could use
    narrow = _within(WIDEST[0], y, mask, pixel_mm, spacing_mm, make, anisotropy, seeds)
    if narrow.profile.fwhm_mm < NEAR_END * WIDEST[0] * spacing_mm:
        return narrow
    return _within(WIDEST[1], y, mask, pixel_mm, spacing_mm, make, anisotropy, seeds)


def _within(
    widest: float,
    y: Tensor,
    mask: Tensor,
    pixel_mm: tuple[float, float],
    spacing_mm: float,
    make: Callable[[float], SliceProfile],
    anisotropy: tuple[tuple[float, float], tuple[float, float]],
    seeds: int,
) -> ProfileEstimate:
    """:func:`estimate_adversarially` among profiles no wider than ``widest`` slice spacings."""
    narrowest = NARROWEST_PX * max(pixel_mm)
    copies = [make(float(width)) for width in np.geomspace(narrowest / 2, widest * spacing_mm, COPIES)]
    pairs = [
        WindowPair(axis, *view, *ratio)
        for axis, ratio in enumerate(anisotropy)
        if (view := _views(y, mask, axis, pixel_mm[axis], spacing_mm, copies))
    ]
    if not pairs:
        raise ValueError(
            "too little of the head spans enough slices, and shows detail, to compare in-plane and across slices."
        )

    def solve(some: list[WindowPair], seed: int, without: int | None = None) -> tuple[float, SliceProfile]:
        generator = torch.Generator().manual_seed(seed)
        drawn = [pair.drawn(generator, without, seeds) for pair in some]
        return _solve(drawn, copies, generator)

    def log_width(some: list[WindowPair]) -> float:
        return solve(some, 0)[0]

    found = sorted((solve(pairs, seed, seed) for seed in range(seeds)), key=lambda answer: answer[0])
    log_widths = [answer[0] for answer in found]
    median = float(np.median(log_widths))
    fwhm_mm, widest_mm = math.exp(median), NEAR_END * WIDEST[1] * spacing_mm
    if not narrowest < fwhm_mm < widest_mm:
        raise ValueError(
            f"in-plane and through-plane windows look alike at no width between {narrowest:.3g} and {widest_mm:.3g} mm."
        )
    nearest = found[len(found) // 2][1]
    profile = nearest.scaled(fwhm_mm / nearest.fwhm_mm)
    spread = math.sqrt((seeds - 1) * float(np.var(log_widths)))
    doubt = sum(pair.doubt**-2 for pair in pairs) ** -0.5
    moved = [log_width([replace(p, expected=p.expected + sign * doubt) for p in pairs]) for sign in (1, -1)]
    unknown = max(abs(other - median) for other in moved)  # of one that is cut off at an end the other tells more
    alone = [log_width([pair]) for pair in pairs]
    ends = math.log(narrowest), math.log(NEAR_END * widest * spacing_mm)
    both = len(alone) == 2 and all(ends[0] < answer < ends[1] for answer in alone)
    apart = abs(alone[0] - alone[1]) / 2 if both else NO_WIDTH
    reach = 1.96 * math.sqrt(spread**2 + apart**2 / 2 + unknown**2)
    low_mm, high_mm = fwhm_mm * math.exp(-reach), fwhm_mm * math.exp(reach)
    if reach > math.log(MOST_DOUBT):
        raise ValueError(
            f"its windows tell the width of its slice profile no better than {low_mm:.2g} to {high_mm:.2g} mm."
        )
    axes = [pair.axis for pair in pairs]
    frequency, power, windows = mean_spectra(y, mask, pixel_mm, spacing_mm, profile, axes, WINDOW)
    return ProfileEstimate(profile, low_mm, high_mm, frequency, power[0], power[1], windows)


def _views(
    y: Tensor, mask: Tensor, axis: int, pixel_mm: float, spacing_mm: float, copies: list[SliceProfile]
) -> tuple[Tensor, Tensor] | None:
    """Coefficients of windows along an in-plane axis and across slices, ``(n, copies, d)`` each, from one side of the
    head to the other.

    None where too few lie inside the head, or show nothing.
    """
    near = min(copies, key=lambda copy: abs(copy.fwhm_mm - spacing_mm))
    view = view_through(y, mask, axis, pixel_mm, spacing_mm, [near, *copies])
    if view is None or min(view[0].shape[-2:]) < WINDOW:
        return None
    seen, inside = view[0][1:], view[1]
    both = []
    for along in (-1, -2):
        whole = inside.unfold(along, WINDOW, 1).all(-1)
        places = whole.nonzero()
        places = places[:: max(1, len(places) // MOST_KEPT)]
        windows = seen.unfold(along, WINDOW, 1)[:, *places.T].movedim(0, 1)  # (n, copies, WINDOW)
        both.append(windows @ _waves()[0].to(windows))
    if min(map(len, both)) < FEWEST_WINDOWS:
        return None
    detail = min(float(coefficients.abs().max()) for coefficients in both)
    return (both[0], both[1]) if detail > NO_DETAIL * float(seen.abs().max()) else None


def _waves() -> tuple[Tensor, Tensor]:
    """Hann-tapered Fourier basis without the mean, ``(WINDOW, d)``, and its frequencies over the highest, ``(d,)``."""
    taper = torch.hann_window(WINDOW + 2, periodic=False, dtype=torch.float64)[1:-1]
    cycles = torch.arange(1, WINDOW // 2 + 1, dtype=torch.float64)
    phase = 2 * math.pi / WINDOW * torch.outer(torch.arange(WINDOW, dtype=torch.float64), cycles)
    waves = taper[:, None] * torch.cat([phase.cos(), phase[:, :-1].sin()], dim=1)
    return waves - waves.mean(0), torch.cat([cycles, cycles[:-1]]) / cycles[-1]


def _logits(log_fwhm: Tensor, copies: list[SliceProfile]) -> Tensor:
    log_widths = torch.tensor([copy.fwhm_mm for copy in copies], dtype=torch.float64).log()
    return -(((log_widths - log_fwhm) / SMEAR) ** 2) / 2


def _solve(
    pairs: list[WindowPair], copies: list[SliceProfile], generator: torch.Generator
) -> tuple[float, SliceProfile]:
    """The profile that leaves the critic least, and the mean log width of its copies, which knows no steps."""
    kernel = torch.tensor(KERNEL_WIDTHS)[torch.randint(len(KERNEL_WIDTHS), (FEATURES,), generator=generator)]
    frequency = _waves()[1].float()  # the critic looks closer at high ones, where the width acts
    waves = frequency[:, None] * torch.randn(len(frequency), FEATURES, generator=generator) / kernel
    phases = 2 * math.pi * torch.rand(FEATURES, generator=generator)
    precision = sum(pair.doubt**-2 for pair in pairs)

    def discrepancy(weights: Tensor) -> Tensor:
        """About 1 where chance alone tells the windows apart."""
        total = weights.new_zeros(())
        for pair in pairs:
            in_plane, across = (
                torch.einsum("nrd,r->nd", some, weights.to(some)) for some in (pair.in_plane, pair.across)
            )
            scale = across.square().mean(0).sqrt().clamp_min(1e-12)
            less_detail = in_plane * math.exp(pair.expected / 2)
            means = [torch.cos(some / scale @ waves.to(some) + phases).mean(0) for some in (less_detail, across)]
            share = pair.doubt**-2 / precision * min(len(in_plane), len(across))
            total = total + share * (means[0] - means[1]).square().mean()
        return total

    with torch.no_grad():
        starts = [math.log(copy.fwhm_mm) for copy in copies]
        losses = [float(discrepancy(_logits(torch.tensor(start), copies).softmax(0))) for start in starts]
    log_fwhm = torch.tensor(starts[int(np.argmin(losses))], dtype=torch.float64, requires_grad=True)
    shape = torch.zeros(len(copies), dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS(
        [log_fwhm, shape], max_iter=ITERATIONS, history_size=10, line_search_fn="strong_wolfe"
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        weights = (_logits(log_fwhm, copies) + shape).softmax(0)
        loss = discrepancy(weights) + SHAPE_PENALTY * shape.square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    weights = (_logits(log_fwhm, copies) + shape).softmax(0).detach()
    log_widths = torch.tensor([copy.fwhm_mm for copy in copies], dtype=torch.float64).log()
    return float(weights @ log_widths), _mixture(weights, copies)


def _mixture(weights: Tensor, copies: list[SliceProfile]) -> SliceProfile:
    """Copies with weights that sum to 1 as one profile."""
    reach = max(copy.half_support_mm for copy, weight in zip(copies, weights, strict=True) if weight > LEAST_WEIGHT)
    positions = torch.linspace(-reach, reach, KNOTS, dtype=torch.float64)
    step = positions[1] - positions[0]
    edges = torch.cat([positions - step / 2, positions[-1:] + step / 2])
    density = sum(weight * copy.cumulative(edges).diff() / step for copy, weight in zip(copies, weights, strict=True))
    return sampled_profile(torch.stack([positions, density], dim=1))
