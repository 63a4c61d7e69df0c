"""A 2D denoiser on a volume: slices of the planes that contain the slice axis, fused at every step."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar, cast

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from focvs.errors import is_out_of_memory
from focvs.parallel import in_parallel
from focvs.priors.condition import ScanCondition, ScanNumbers, require_background
from focvs.priors.denoiser import Denoiser

MIRRORS: tuple[tuple[int, ...], ...] = ((), (-1,), (-2,), (-2, -1))  # axes of a slice that are reversed
# pixels of slices denoised at once: on a CPU by every core, and small in memory; on a GPU enough to fill it
PIXELS_PER_BATCH, PIXELS_PER_GPU_BATCH = 100_000, 1_000_000
SURROUNDINGS = 16  # pixels around the head that a network sees
GROUP = 12  # neighbouring slices whose head is in one box, whatever memory there is
_most_pixels: dict[str, int] = {}  # of a type of device, once its memory ran out
T = TypeVar("T")
log = logging.getLogger(__name__)


def pixels_at_once(device: torch.device) -> int:
    """How many pixels are denoised at once on a device."""
    usual = PIXELS_PER_BATCH if device.type == "cpu" else PIXELS_PER_GPU_BATCH
    return _most_pixels.get(device.type, usual)


def within_memory(work: Callable[[int], T], each: int, device: torch.device) -> T:
    """``work(count)`` of so many items of ``each`` pixels at once; half as many, from then on, where memory runs out.

    Raises:
        RuntimeError or MemoryError: as torch says that memory ran out, if a single one does not fit.
    """
    while True:
        count = max(1, pixels_at_once(device) // each)
        try:
            return work(count)
        except (MemoryError, RuntimeError) as error:
            if count == 1 or not is_out_of_memory(error):
                raise
        _most_pixels[device.type] = count // 2 * each
        if device.type == "cuda":
            torch.cuda.empty_cache()
        log.info("memory ran out: half as much is evaluated at once from here on")


@dataclass(frozen=True)
class Part:
    """Neighbouring slices of one item of a batch, and the rows and columns of them that are computed."""

    item: int
    slices: slice
    rows: slice
    columns: slice


@dataclass(frozen=True)
class PlaneDenoiser:
    """Denoises ``(b, p, q, n)`` volumes slice by slice in one plane.

    Attributes:
        denoise: 2D denoiser of ``(slices, 1, h, w)``; where ``numbers`` are given it takes a condition too.
        across: the volume axis (0 for p, 1 for q) that counts the slices; the plane holds the other one and n.
        window: range of the last axis that is computed; None is all.
        background: ``(p, q, n)`` the interpolated scan, used where nothing is computed and told to a conditioned prior.
        numbers: of the acquisition, for a conditioned prior; None for others.
        flips: axes of a slice (-2, -1) that are reversed for the network.
        slab: slices the denoiser sees around each, an odd number; at the ends of the volume the last one repeats.
        head: ``(p, q, n)`` boolean on the CPU, which voxels must be computed; None computes all. Of :data:`GROUP`
            neighbouring slices it is the box around them and :data:`SURROUNDINGS` more pixels.
        outside: value of what is not computed; None takes the background, and without one the input.
        done: called with the fraction of an item's slices that was done, from any thread.
        further: ``(p, q, n)`` volumes that a conditioned prior is told after the interpolated scan, slab by slab.

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
    head: Tensor | None = None
    outside: float | None = None
    done: Callable[[float], None] | None = None
    further: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        require_background(self.numbers, self.background)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        noisy, known = self._stack(x), []
        if self.numbers is not None:
            assert self.background is not None
            known = [self._stack(volume.to(x)[None])[0] for volume in (self.background, *self.further)]

        def denoise(part: Part) -> Tensor:
            if torch.is_grad_enabled() and x.requires_grad:  # else activations of a whole head would be held
                found = cast(Tensor, checkpoint(denoise_slabs, part, use_reentrant=False))
            else:
                found = denoise_slabs(part)
            count(len(found) / x.shape[1 + self.across])
            return found

        def denoise_slabs(part: Part) -> Tensor:
            some = self._slabs(noisy[part.item], part)
            if self.numbers is None:
                return self.denoise(some, sigma).flip(self.flips)
            slabs = torch.cat([self._slabs(stack, part) for stack in known], dim=1)
            told = ScanCondition.of(slabs, self.numbers)
            return self.denoise(some, sigma, told).flip(self.flips)

        counted: list[float] = []

        def count(share: float) -> None:
            counted.append(share)
            if self.done:
                self.done(share)

        def work(at_once: int) -> tuple[list[Part], list[Tensor]]:
            parts = self._parts(x, at_once)
            try:
                return parts, in_parallel(denoise, parts, x.device)
            except Exception:
                count(-sum(counted))
                raise

        parts, found = within_memory(work, noisy.shape[-2:].numel(), x.device)
        around = x if self.background is None else self.background.to(x)
        out = around.expand_as(x).clone() if self.outside is None else torch.full_like(x, self.outside)
        slices = self._slices(out)
        for part, denoised in zip(parts, found, strict=True):
            slices[part.item, part.slices, part.rows, part.columns] = denoised[:, 0]
        return out

    def _slices(self, volume: Tensor) -> Tensor:
        """``(b, slices, h, w)``."""
        return volume[..., self.window or slice(None)].movedim(1 + self.across, 1)

    def _stack(self, volume: Tensor) -> Tensor:
        """The slices, the outermost ones repeated as often as slabs reach beyond them."""
        slices, reach = self._slices(volume), self.slab // 2
        if not reach:
            return slices
        first, last = (slices[:, end].unsqueeze(1).expand(-1, reach, -1, -1) for end in (0, -1))
        return torch.cat([first, slices, last], dim=1)

    def _parts(self, x: Tensor, at_once: int) -> list[Part]:
        """What is computed of a batch, ``at_once`` slices at a time."""
        batch, count, *size = self._slices(x).shape
        head = None if self.head is None else self._slices(self.head[None])[0]
        parts = []
        for start in range(0, count, GROUP):
            group = range(start, min(start + GROUP, count))
            if head is None:
                box = [slice(0, size[0]), slice(0, size[1])]
            else:
                flat = head[group.start : group.stop].any(0)
                if not flat.any():
                    continue
                box = [_reach(flat.any(axis), n) for axis, n in zip((1, 0), size, strict=True)]
            for first in group[::at_once]:
                some = slice(first, min(first + at_once, group.stop))
                parts += [Part(item, some, *box) for item in range(batch)]
        return parts

    def _slabs(self, stack: Tensor, part: Part) -> Tensor:
        """``(k, slab, h, w)``, flipped, around the slices of a part."""
        rows = stack[part.slices.start : part.slices.stop + self.slab - 1, part.rows, part.columns]
        return rows.unfold(0, self.slab, 1).movedim(-1, 1).flip(self.flips).contiguous()


def _reach(line: Tensor, size: int) -> slice:
    """From the first to the last True and :data:`SURROUNDINGS` beyond, a multiple of that long if it can be."""
    places = line.nonzero()
    low, high = int(places[0]) - SURROUNDINGS, int(places[-1]) + 1 + SURROUNDINGS
    low = max(0, low)
    return slice(low, min(size, low + -(-(high - low) // SURROUNDINGS) * SURROUNDINGS))


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

    What the network does to one side of a slice and not the other then averages out over levels, or over samples.
    """
    turns = []
    for i in range(len(MIRRORS)):
        for j, plane in enumerate(planes):
            turns.append(replace(plane, flips=MIRRORS[(i + j) % len(MIRRORS)]))
    return turns


def mirrored(planes: Sequence[PlaneDenoiser], count: int) -> list[PlaneDenoiser]:
    """Every plane through ``count`` mirrors, 1, 2 or 4; of two both axes are reversed."""
    chosen = {1: MIRRORS[:1], 2: MIRRORS[::3], 4: MIRRORS}[count]
    return [replace(plane, flips=flips) for plane in planes for flips in chosen]
