"""A 2D denoiser on a volume: slices of the planes that contain the slice axis, fused at every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from focvs.priors.condition import ScanCondition, ScanNumbers, require_background
from focvs.priors.denoiser import Denoiser

# pixels of slices denoised at once: on a CPU by every core, and small in memory; on a GPU enough to fill it
PIXELS_PER_BATCH, PIXELS_PER_GPU_BATCH = 100_000, 1_000_000


def in_parallel(function: Callable[[Tensor], Tensor], items: Sequence[Tensor], device: torch.device) -> list[Tensor]:
    """``function`` of every item; on a CPU a core each, which beats all cores on one (scripts/benchmark_threads.py).

    The number of cores is that of ``torch.get_num_threads()``. Gradients and inference mode are as in the caller.
    """
    threads = torch.get_num_threads()
    workers = min(threads, len(items)) if device.type == "cpu" else 1
    if workers < 2:
        return [function(item) for item in items]
    inference, gradients = torch.is_inference_mode_enabled(), torch.is_grad_enabled()

    def work(item: Tensor) -> Tensor:
        with torch.inference_mode(inference), torch.set_grad_enabled(gradients):  # both are of a thread
            return function(item)

    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, items))
    finally:
        torch.set_num_threads(threads)  # a worker's number is that of threads to come as well


@dataclass(frozen=True)
class PlaneDenoiser:
    """Denoises ``(b, p, q, n)`` volumes slice by slice in one plane.

    Attributes:
        denoise: 2D denoiser of ``(slices, 1, h, w)``; where ``numbers`` are given it takes a condition too.
        across: the volume axis (0 for p, 1 for q) that counts the slices; the plane holds the other one and n.
        window: range of the last axis that is computed; None is all.
        background: ``(p, q, n)`` the interpolated scan, used outside ``window`` and told to a conditioned prior.
        numbers: of the acquisition, for a conditioned prior; None for others.
        flips: axes of a slice (-2, -1) that are reversed for the network.
        slab: slices the denoiser sees around each, an odd number; at the ends of the volume the last one repeats.

    Raises:
        ValueError: for numbers without the interpolated scan as background.
    """

    denoise: Callable[..., Tensor]
    across: int
    window: slice | None = None
    background: Tensor | None = None
    numbers: ScanNumbers | None = None
    flips: tuple[int, ...] = ()
    slab: int = 1

    def __post_init__(self) -> None:
        require_background(self.numbers, self.background)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        slices = self._slices(x)
        known = None
        if self.numbers is not None:
            assert self.background is not None
            known = self._slices(self.background.to(x).expand_as(x))

        def denoise(places: Tensor) -> Tensor:
            if torch.is_grad_enabled() and x.requires_grad:  # else activations of a whole head would be held
                return cast(Tensor, checkpoint(denoise_slabs, places, use_reentrant=False))
            return denoise_slabs(places)

        def denoise_slabs(places: Tensor) -> Tensor:
            some = self._slabs(slices, places)
            if known is None:
                return self.denoise(some, sigma).flip(self.flips)
            assert self.numbers is not None
            told = ScanCondition.of(self._slabs(known, places), self.numbers)
            return self.denoise(some, sigma, told).flip(self.flips)

        batch, count, height, width = slices.shape
        pixels = PIXELS_PER_BATCH if x.device.type == "cpu" else PIXELS_PER_GPU_BATCH
        parts = in_parallel(denoise, torch.arange(batch * count).split(max(1, pixels // (height * width))), x.device)
        denoised = torch.cat(parts).view(slices.shape).movedim(1, 1 + self.across)
        if self.window is None:
            return denoised
        out = x.clone() if self.background is None else self.background.to(x).expand_as(x).clone()
        out[..., self.window] = denoised
        return out

    def _slices(self, volume: Tensor) -> Tensor:
        """``(b, slices, h, w)``."""
        return volume[..., self.window or slice(None)].movedim(1 + self.across, 1)

    def _slabs(self, slices: Tensor, places: Tensor) -> Tensor:
        """``(k, slab, h, w)``, flipped, around the slices at ``places`` of all items in a row."""
        count, reach = slices.shape[1], self.slab // 2
        item, place = (places // count)[:, None], (places % count)[:, None]
        around = (place + torch.arange(-reach, reach + 1)).clamp(0, count - 1)
        return slices[item, around].flip(self.flips).contiguous()


@dataclass(frozen=True)
class AveragedPlanes:
    """The mean of several plane denoisers at every step."""

    members: Sequence[Denoiser]

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        total = self.members[0](x, sigma)
        for member in self.members[1:]:
            total = total + member(x, sigma)
        return total / len(self.members)


@dataclass(frozen=True)
class AlternatedPlanes:
    """One plane denoiser per level, in turn: two planes take half the time of averaging them.

    ``sigmas`` is the schedule: the level of a call is found from its noise level.
    """

    members: Sequence[Denoiser]
    sigmas: Tensor

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        level = int((self.sigmas - sigma).abs().argmin())
        return self.members[level % len(self.members)](x, sigma)


def mirrored_in_turn(planes: Sequence[PlaneDenoiser]) -> list[PlaneDenoiser]:
    """The planes in turn, each time through another mirror, for a prior that was trained on mirrored slices.

    What the network does to one side of a slice and not the other then averages out over the levels.
    """
    mirrors: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))
    turns = []
    for i in range(len(mirrors)):
        for j, plane in enumerate(planes):
            turns.append(replace(plane, flips=mirrors[(i + j) % len(mirrors)]))
    return turns
