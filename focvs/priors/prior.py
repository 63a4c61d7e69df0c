"""A loaded prior: its networks, what they want to be told, and the tables that were measured of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from focvs.priors.condition import ScanCondition, ScanNumbers
from focvs.priors.error_table import ErrorTable
from focvs.priors.intervals import IntervalTable
from focvs.priors.precision import lay_out
from focvs.priors.volumetric import Padded, Rescaled

PROBE_SLICES, PROBE_EDGE, PROBE_EDGE_3D = 4, 96, 32  # of what one evaluation is timed on


class Inference(nn.Module):
    """A network without gradients of its weights, in the precision it is to compute in; what it gives is float32.

    Args:
        denoiser: under the contract of :mod:`focvs.priors.denoiser`.
        device: torch device.
        dtype: float32, bfloat16 or float16.
    """

    def __init__(self, denoiser: nn.Module, device: str, dtype: torch.dtype = torch.float32):
        super().__init__()
        denoiser.eval().requires_grad_(False).to(device)
        self.denoiser, self.device, self.dtype = lay_out(denoiser), device, dtype

    def at(self, dtype: torch.dtype, *, compiled: bool = False) -> Inference:
        """The same network in another precision, compiled by torch.compile if asked for."""
        network = torch.compile(self.denoiser, dynamic=True) if compiled else self.denoiser
        return Inference(cast(nn.Module, network), self.device, dtype)

    def on(self, device: str) -> Inference:
        """The same network, moved to another device."""
        return Inference(self.denoiser, device, self.dtype)

    def forward(self, x: Tensor, sigma: float | Tensor, *condition: ScanCondition) -> Tensor:
        kind = torch.device(self.device).type
        reduced = self.dtype != torch.float32
        with torch.autocast(kind, dtype=self.dtype) if reduced else nullcontext():
            return self.denoiser(x, sigma, *condition).float()


@dataclass(frozen=True, eq=False)
class Prior:
    """A loaded prior.

    Attributes:
        denoise: ``D(x, sigma)`` of ``(slices, 1, h, w)``, or of ``(b, 1, x, y, z)`` for a 3D prior, in its units; a
            conditioned one takes a :class:`focvs.priors.condition.ScanCondition` as well.
        errors: stored error table, or None.
        sha256: of the weights file.
        path: of the weights file.
        conditioned: whether it wants to be told of the scan.
        dimensions: 2 or 3.
        scaling: what its +1 is, the ``percentile`` 99.5 of the scan or its ``maximum``.
        axes: where the axes of a 3D prior point, such as ``LPS``; empty for the scan's own, slice axis last.
        shape: fixed field of view of a 3D prior in voxels, or None.
        multiple: sizes it takes are multiples of this.
        mirrored: whether it was trained on mirrored images, and if 3D with its first two axes in both orders.
        slab: slices a 2D prior sees around the one it denoises, itself included.
        voxel_range_mm: in-plane voxels it was trained on, or None where that is not known.
        intervals: stored table of interval widths, in predictive deviations of its samples or of its mean, or None.
        samples: whether it can be sampled; otherwise it gives the mean of the volume given its scan, and nothing else.
        stages: evaluations after the first that improve such a mean. They take the mean so far where a denoiser takes
            the noisy image.
        guided: in the place of the last stage, where there is a guide: told of it after the scan; or None.
        guided_deviation: in the place of ``deviation`` where there is a guide, told of it likewise; or None.
        guided_sha256: of the weights of both, which ``sha256`` does not cover.
        deviation: gives the logarithm of the standard deviation of the error of the mean, likewise; or None.
        residual: denoises the residual of samples around the mean in units of that deviation, told of the scan, the
            mean and the deviation (:class:`focvs.priors.residual_network.ResidualDenoiser`); or None.
    """

    denoise: Inference | Padded
    errors: ErrorTable | None
    sha256: str
    path: Path
    conditioned: bool = False
    dimensions: int = 2
    scaling: str = "percentile"
    axes: str = "RAS"
    shape: tuple[int, int, int] | None = None
    multiple: int = 1
    mirrored: bool = False
    slab: int = 1
    voxel_range_mm: tuple[float, float] | None = None
    intervals: IntervalTable | None = None
    samples: bool = True
    stages: tuple[Inference, ...] = ()
    guided: Inference | None = None
    guided_deviation: Inference | None = None
    guided_sha256: str | None = None
    deviation: Inference | None = None
    residual: Inference | None = None

    def in_units_of(self, white: float, maximum: float) -> Callable[..., Tensor]:
        """The denoiser for volumes whose ``white`` level is +1, whatever +1 is for the prior.

        Args:
            white: white level of the scan.
            maximum: of the scan.
        """
        return Rescaled(self.denoise, white / maximum) if self.scaling == "maximum" else self.denoise

    def at(self, dtype: torch.dtype, *, compiled: bool = False) -> Prior:
        """The same prior, its networks in another precision, and compiled by torch.compile if asked for."""
        return self._each(lambda network: network.at(dtype, compiled=compiled))

    def on(self, device: str) -> Prior:
        """The same prior, its networks moved to another device."""
        return self._each(lambda network: network.on(device))

    def _each(self, change: Callable[[Any], Any]) -> Prior:
        return replace(
            self,
            denoise=change(self.denoise),
            stages=tuple(change(stage) for stage in self.stages),
            guided=self.guided and change(self.guided),
            guided_deviation=self.guided_deviation and change(self.guided_deviation),
            deviation=self.deviation and change(self.deviation),
            residual=self.residual and change(self.residual),
        )

    def patches(self, device: str) -> Tensor:
        """A few patches of noise on a device, ``(b, 1, h, w)`` or ``(1, 1, x, y, z)``: a network is timed on them."""
        shape = (1, 1, *[PROBE_EDGE_3D] * 3) if self.dimensions == 3 else (PROBE_SLICES, 1, *[PROBE_EDGE] * 2)
        return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(device)

    def evaluate(self, patches: Tensor, dtype: torch.dtype) -> Tensor:
        """One evaluation of ``patches`` in a precision, each slice repeated as often as a slab has slices."""
        x = patches if self.dimensions == 3 else patches.repeat(1, self.slab, 1, 1)
        told = (ScanCondition.of(x, ScanNumbers(4.0, 4.0, 0.0)),) if self.conditioned else ()
        network = self.denoise if self.denoise.dtype == dtype else self.denoise.at(dtype)
        with torch.inference_mode():
            out = network(x, 0.5, *told)
        if out.device.type == "cuda":
            torch.cuda.synchronize(out.device)
        elif out.device.type == "mps":
            torch.mps.synchronize()
        return out
