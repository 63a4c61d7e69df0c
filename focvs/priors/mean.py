"""The mean of a volume given its scan, by a network of slabs: planes that hold the slice axis, averaged."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from focvs.priors.condition import ScanCondition, ScanNumbers
from focvs.priors.mean_network import DeviationUNet2D, MeanUNet2D
from focvs.priors.planes import AveragedPlanes, PlaneDenoiser

UNHEARD = ScanNumbers(0.0, 0.0, 0.0)  # numbers of the acquisition, and the noise level, that no slab denoiser hears
UNHEARD_SIGMA = 1.0


class SlabDenoiser(nn.Module):
    """A network of the mean under the contract of a denoiser, whose noisy image is empty.

    It sees the interpolated scan, a guided stage what is told of the guide after it, and a later stage in the place of
    the noisy image the mean so far. Noise level and numbers of the acquisition are not heard. A slice that has no
    neighbours repeats itself.
    """

    def __init__(self, network: MeanUNet2D | DeviationUNet2D):
        super().__init__()
        self.network = network

    def forward(self, x: Tensor, sigma: float | Tensor, condition: ScanCondition) -> Tensor:
        slab, told = self.network.slab, condition.image
        slabs = [image.expand(-1, slab, -1, -1) if image.shape[1] == 1 else image for image in (told, x)]
        return self.network(torch.cat(slabs, dim=1)[:, : slab * self.network.images])


def mean_of_planes(
    stage: Callable[..., Tensor], scan: Tensor, mean: Tensor, slab: int = 5, told: tuple[Tensor, ...] = ()
) -> Tensor:
    """E[volume | scan] ``(p, q, n)`` by one stage: the mean over the two planes that contain the last axis.

    Args:
        stage: a :class:`SlabDenoiser`, in the precision it is to compute in.
        scan: ``(p, q, n)`` the interpolated scan, prior units.
        mean: ``(p, q, n)`` what the stages before it gave; a first stage does not look at it.
        slab: slices that the network sees.
        told: ``(p, q, n)`` volumes that a guided stage sees besides: the filtered scan and the guide.
    """
    planes = [PlaneDenoiser(stage, across, None, scan, UNHEARD, slab=slab, further=told) for across in (0, 1)]
    return AveragedPlanes(planes)(mean[None], UNHEARD_SIGMA)[0]
