"""The 3D network: MONAI's ``DiffusionModelUNet`` behind an orthonormal 3D Haar stem."""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin
from monai.networks.nets import DiffusionModelUNet
from torch import Tensor

from focvs.priors.condition import ScanCondition


def haar3(x: Tensor) -> Tensor:
    """Orthonormal 2 x 2 x 2 Haar transform, ``(b, c, x, y, z)`` to ``(b, 8c, x/2, y/2, z/2)``.

    Raises:
        RuntimeError: if a size is odd.
    """
    for axis in (-3, -2, -1):
        even, odd = x.unflatten(axis, (x.shape[axis] // 2, 2)).unbind(axis)
        x = torch.cat([even + odd, even - odd], dim=1) / math.sqrt(2)
    return x


def haar3_inverse(x: Tensor) -> Tensor:
    """Inverse (and adjoint) of :func:`haar3`."""
    for axis in (-1, -2, -3):
        total, difference = x.chunk(2, dim=1)
        pair = torch.stack([total + difference, total - difference], dim=x.ndim + axis + 1) / math.sqrt(2)
        x = pair.flatten(x.ndim + axis, x.ndim + axis + 1)
    return x


class HaarUNet3D(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """``DiffusionModelUNet`` on the 3D Haar coefficients of a volume: an eighth of the voxels.

    Args:
        channels: width of each level; each level halves the grid.
        num_res_blocks: residual blocks per level.
        norm_groups: groups of the group normalisation.
        sigma_data: standard deviation of clean volumes in prior units, stored with the weights.
        conditioned: whether the network also sees the interpolated scan, slice axis last, and its numbers (as
            constant channels).
        sigma_residual: standard deviation of clean volumes around the interpolated scan, prior units.
        trained: what the weights were trained on, kept in their configuration: ``voxel_range_mm``, in-plane; whether
            ``mirrored``. None where that is not known.
    """

    prediction = "edm"

    @register_to_config
    def __init__(
        self,
        channels: tuple[int, ...] = (32, 64, 128),
        num_res_blocks: int = 1,
        norm_groups: int = 8,
        sigma_data: float = 0.5,
        conditioned: bool = False,
        sigma_residual: float = 0.15,
        trained: dict[str, Any] | None = None,
    ):
        super().__init__()
        self.sigma_data, self.sigma_residual, self.conditioned = sigma_data, sigma_residual, conditioned
        self.multiple, self.trained = 2 ** len(channels), trained
        self.unet = DiffusionModelUNet(
            spatial_dims=3,
            in_channels=8 + (8 + 3 if conditioned else 0),
            out_channels=8,
            channels=tuple(channels),
            attention_levels=(False,) * len(channels),
            num_res_blocks=num_res_blocks,
            norm_num_groups=norm_groups,
            num_head_channels=norm_groups,
        )

    def forward(self, x: Tensor, noise_condition: Tensor, condition: ScanCondition | None = None) -> Tensor:
        """Raw network output for ``x`` ``(b, 1, x, y, z)``; any size, edges padded by replication."""
        shape = x.shape[2:]
        coefficients = self._stem(x)
        if self.conditioned:
            condition = condition or ScanCondition.unknown(x)
            numbers = condition.numbers().to(x)[:, :, None, None, None].expand(-1, -1, *coefficients.shape[2:])
            coefficients = torch.cat([coefficients, self._stem(condition.image.to(x)), numbers], dim=1)
        out = haar3_inverse(self.unet(coefficients, 1000 * noise_condition))
        return out[..., : shape[0], : shape[1], : shape[2]]

    def _stem(self, x: Tensor) -> Tensor:
        a, b, c = (-n % self.multiple for n in x.shape[2:])
        return haar3(F.pad(x, (0, c, 0, b, 0, a), mode="replicate") if a or b or c else x)
