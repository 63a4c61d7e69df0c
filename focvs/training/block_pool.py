"""Blocks of heads with the mean that trained stages give of their scans: what later stages of a cascade learn from."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.degradation import Degradation
from focvs.acquisition.guided_filter import guided_detail
from focvs.acquisition.linear_operator import MatrixOperator
from focvs.priors.mean import SlabDenoiser, mean_of_planes
from focvs.priors.mean_network import GUIDED_IMAGES, DeviationUNet2D, MeanUNet2D, SlabUNet2D
from focvs.priors.prior import Inference
from focvs.priors.residual_network import deviation_scale
from focvs.training.guides import GuidePlan, make_guide
from focvs.training.pool import FOREGROUND, LEAST_HEAD, PoolVolume, VolumePool

ERROR = 0.1  # assumed of a mean where it is replaced, prior units; only its ratio to the scan's noise counts
MOST_CORRECTION = 2.0  # of the deviation of a block
LEAST_NOISE = 1e-3  # prior units: without noise slices that hardly reach the block would be followed too closely


@dataclass(frozen=True)
class BlockPlan:
    """What a pool of blocks holds.

    Attributes:
        blocks: how many at a time.
        depth: slices of a block; the other edges are those of a patch.
        refresh: steps after which the oldest block is replaced.
        per_volume: blocks after which the oldest volume is replaced.
        any_stage: whether a block has the mean of any number of the stages, and not always of all: a deviation then
            knows the errors of each.
    """

    blocks: int = 96
    depth: int = 32
    refresh: int = 8
    per_volume: int = 3
    any_stage: bool = False


@dataclass(frozen=True, eq=False)
class Block:
    """Clean, interpolated and estimated ``(depth, h, w)``, prior units, float16, the slice axis last.

    Attributes:
        clean: the truth.
        images: what networks see: the interpolated scan, where there are guides the filtered scan and the guide, the
            mean of the scan, and log s where a deviation is told, made right for the block.
    """

    clean: Tensor
    images: tuple[Tensor, ...]


class BlockPool:
    """Batches as of :class:`VolumePool`, each slab of the scan followed by that of its mean, and that of the deviation.

    The pool at a step is a function of the seeds, the stages and the step alone.

    Args:
        volumes: whose held volumes are cut; those whose slices lie far apart are passed over.
        stages: trained networks, in order; both planes of each are averaged and the scan replaced. One that sees a
            guide needs ``guides``.
        plan: see :class:`BlockPlan`.
        deviation: of the last mean, for a diffusion of the residual: clean images are whole slabs then.
        guides: how guides are made; None for networks that see none.
        bfloat16: whether the stages are evaluated in it.

    Raises:
        ValueError: for a stage or a deviation that sees a guide where none are made; by :meth:`batch`, where no held
            volume can be cut in every direction.
    """

    def __init__(
        self,
        volumes: VolumePool,
        stages: Sequence[MeanUNet2D],
        plan: BlockPlan,
        deviation: DeviationUNet2D | None = None,
        guides: GuidePlan | None = None,
        bfloat16: bool = True,
    ):
        self.volumes, self.plan, self.guides = volumes, plan, guides
        dtype = torch.bfloat16 if bfloat16 else torch.float32
        networks = [*stages] if deviation is None else [*stages, deviation]
        if guides is None and any(_sees_guide(network) for network in networks):
            raise ValueError("a stage or the deviation sees a guide, and none are made; give guided=true.")
        self.stages = [_whole(stage, dtype) for stage in stages]
        self.deviation = None if deviation is None else _whole(deviation, dtype)
        self.held: deque[Block] = deque()
        self.first = -1

    def batch(self, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Clean slices ``(size, 1, h, w)``, or slabs, and slabs of all that is seen ``(size, images * slab, h, w)``."""
        first = step // self.plan.refresh
        if not self.first <= first < self.first + len(self.held):
            self.held.clear()
            self.first = first
        while self.first < first:
            self.held.popleft()
            self.first += 1
        self.held.extend(self._make(k) for k in range(first + len(self.held), first + self.plan.blocks))
        rng = np.random.default_rng((self.volumes.seed, 3, step))
        clean, images = zip(*(self._pair(rng) for _ in range(size)), strict=True)
        return torch.stack(clean), torch.stack(images)

    def _make(self, k: int) -> Block:
        self.volumes.advance(k // self.plan.per_volume)
        rng = np.random.default_rng((self.volumes.seed, 2, k))
        volume, block, second = self._cut(rng)
        image = self.volumes.vary(block.astype(np.float32), volume, rng)
        clean = torch.from_numpy(np.ascontiguousarray(2 * image - 1, dtype=np.float32))
        degrade = self.volumes.degradations[rng.integers(len(self.volumes.degradations))]
        noisy = rng.random() < self.volumes.plan.noisy
        sigma = float(np.exp(rng.uniform(np.log(0.005), np.log(0.06)))) if noisy else 0.0
        white = torch.from_numpy(rng.standard_normal((*clean.shape[:-1], degrade.slices), dtype=np.float32))
        y = degrade(clean) + sigma * white
        scan = mean = y @ degrade.interpolation.to(y).T
        inner, gain = _replacement(degrade, max(sigma, LEAST_NOISE))
        count = int(rng.integers(1, len(self.stages) + 1)) if self.plan.any_stage else len(self.stages)
        with torch.inference_mode():
            guiding: tuple[Tensor, ...] = ()
            if self.guides:
                anatomy = block if second is None else second
                guide = torch.from_numpy(make_guide(anatomy, self.guides, rng, other=second is not None))
                seen = degrade(guide) @ degrade.interpolation.to(y).T
                guiding = (scan + guided_detail(scan, guide, seen), guide)
            for stage in self.stages[:count]:
                mean = stage(scan, mean, guiding)
                mean = mean + (y - degrade(mean))[..., inner] @ gain.to(y).T
            images = [scan, *guiding, mean]
            if self.deviation:
                log_deviation = self.deviation(scan, mean, guiding)
                images.append(log_deviation + _log_of_error(clean - mean, log_deviation, clean))
        return Block(clean.half(), tuple(image.half() for image in images))

    def _cut(self, rng: np.random.Generator) -> tuple[PoolVolume, np.ndarray, np.ndarray | None]:
        """A volume, a block ``(depth, h, w)`` of it of random orientation and place, and its second contrast there."""
        depth, size = self.plan.depth, self.volumes.plan.patch
        whole = [volume for volume in self.volumes.held if len(volume.axes) == 3]
        if not whole:
            raise ValueError("blocks need volumes that can be cut in every direction, not stacks of slices alone.")
        for _ in range(24):
            volume = whole[rng.integers(len(whole))]
            axes = rng.permutation(3)
            turned = volume.data.transpose(axes)
            first = [
                int(rng.integers(max(1, n - m + 1))) for n, m in zip(turned.shape, (depth, size, size), strict=True)
            ]
            place = tuple(slice(f, f + m) for f, m in zip(first, (depth, size, size), strict=True))
            block = turned[place]
            if (block > FOREGROUND).mean() > LEAST_HEAD:
                break
        short = [(0, m - n) for n, m in zip(block.shape, (depth, size, size), strict=True)]
        flips = tuple(a for a in range(3) if rng.random() < 0.5)

        def finish(part: np.ndarray) -> np.ndarray:
            return np.flip(np.pad(part, short, mode="edge"), flips)

        second = None if volume.second is None else finish(volume.second.transpose(axes)[place])
        return volume, finish(block), second

    def _pair(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """A clean slice ``(1, h, w)``, or slab, and its slabs of what networks see, mirrored by chance."""
        block, reach = self.held[rng.integers(len(self.held))], self.volumes.plan.slab // 2
        place = int(rng.integers(reach, self.plan.depth - reach))
        around = slice(place - reach, place + reach + 1)
        flips = [axis for axis in (0, 1, 2) if rng.random() < 0.5]
        slabs = torch.cat([image[around].flip(flips) for image in block.images])
        clean = block.clean[around if self.deviation else slice(place, place + 1)]
        return clean.flip(flips).float(), slabs.float()


def _sees_guide(network: SlabUNet2D) -> bool:
    return network.images == GUIDED_IMAGES


def _whole(network: MeanUNet2D | DeviationUNet2D, dtype: torch.dtype) -> Callable[..., Tensor]:
    """What a network makes of a scan and its mean, and if it sees a guide of what is told of that, by both planes."""
    evaluate = Inference(SlabDenoiser(network), "cpu", dtype)

    def whole(scan: Tensor, mean: Tensor, guiding: tuple[Tensor, ...]) -> Tensor:
        return mean_of_planes(evaluate, scan, mean, network.slab, guiding if _sees_guide(network) else ())

    return whole


def _log_of_error(error: Tensor, log_deviation: Tensor, clean: Tensor) -> Tensor:
    """Logarithm of the root mean square error in the head, in deviations.

    On the heads that it was trained on a mean errs by less than its deviation says, on new ones by as much. With this
    the deviation of a block is right for it, and a diffusion does not learn that residuals are small.
    """
    inside = clean > 2 * FOREGROUND - 1
    if not inside.any():
        return torch.zeros(())
    ratio = (error / deviation_scale(log_deviation))[inside].square().mean().sqrt()
    return ratio.clamp(1 / MOST_CORRECTION, MOST_CORRECTION).log()


def _replacement(degrade: Degradation, noise_sigma: float) -> tuple[Tensor, Tensor]:
    """Which slices lie in a patch for the most part, and the gain ``(n, slices)`` that replaces by them."""
    matrix = degrade.matrix
    inner = (matrix[:, 0] < 0.5) & (matrix[:, -1] < 0.5)
    unit = torch.eye(matrix.shape[1], dtype=torch.float64)
    return inner, MatrixOperator(matrix[inner]).kalman_gain(ERROR**2 * unit, noise_sigma)
