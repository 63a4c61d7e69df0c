"""The mean of a volume given its scan, by a network of slabs: planes that hold the slice axis, averaged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from focvs.priors.condition import ScanCondition
from focvs.priors.mean_network import DeviationUNet2D, MeanUNet2D

PIXELS_PER_BATCH = 150_000  # of slices evaluated at once: large enough for every core, small in memory


class SlabDenoiser(nn.Module):
    """A network of the mean under the contract of a denoiser, whose noisy image is empty.

    It sees the interpolated scan, and a later stage in the place of the noisy image the mean so far. Noise level and
    numbers of the acquisition are not heard. A slice without neighbours repeats itself.
    """

    def __init__(self, network: MeanUNet2D | DeviationUNet2D):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, sigma: float | Tensor, condition: ScanCondition) -> Tensor:
        slabs = [image.expand(-1, self.network.slab, -1, -1) for image in (condition.image, x)]
        return self.network(torch.cat(slabs[: self.network.images], dim=1))


def mean_of_planes(network: Callable[[Tensor], Tensor], images: Sequence[Tensor], slab: int = 5) -> Tensor:
    """E[volume | scan] ``(p, q, n)``: the mean over the two planes that contain the last axis.

    Args:
        network: slabs ``(b, len(images) * slab, h, w)`` to their middle slices ``(b, 1, h, w)``.
        images: volumes ``(p, q, n)`` that the network sees, prior units: the interpolated scan, then earlier means.
        slab: slices of a slab, an odd number; at the ends of the volume the last slice repeats.
    """
    return (mean_of_plane(network, images, 0, slab) + mean_of_plane(network, images, 1, slab)) / 2


def mean_of_plane(network: Callable[[Tensor], Tensor], images: Sequence[Tensor], across: int, slab: int = 5) -> Tensor:
    """The same of one plane, whose slices are counted along the axis ``across``, 0 for p or 1 for q."""
    stacks = [image.movedim(across, 0) for image in images]
    count, height, width = stacks[0].shape
    offsets = torch.arange(-(slab // 2), slab // 2 + 1)
    parts = []
    for places in torch.arange(count).split(max(1, PIXELS_PER_BATCH // (height * width))):
        around = (places[:, None] + offsets).clamp(0, count - 1)
        parts.append(network(torch.cat([stack[around] for stack in stacks], dim=1))[:, 0])
    return torch.cat(parts).movedim(0, across)
