"""A 3D denoiser on a volume: its own orientation, and a fixed field of view or overlapping patches."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from focvs.acquisition.resident import resident
from focvs.parallel import all_cores
from focvs.priors.condition import ScanCondition, ScanNumbers, require_background

PATCHES_PER_GPU_BATCH = 4
_PAIR = {code: pair for pair in ("RL", "AP", "SI") for code in pair}
_OPPOSITE = {code: pair.replace(code, "") for code, pair in _PAIR.items()}


@dataclass(frozen=True)
class Orientation:
    """From volumes ``(b, p, q, n)`` to ``(b, 1, x, y, z)`` as a network saw them, and back.

    Attributes:
        volume: where the axes p, q, n point, such as ``RAS``: three of R/L, A/P and S/I.
        network: where the network's axes point.

    Raises:
        ValueError: unless each names three different axes.
    """

    volume: str
    network: str = "RAS"

    def __post_init__(self) -> None:
        for codes in (self.volume, self.network):
            if sorted(_PAIR.get(code, "") for code in codes) != ["AP", "RL", "SI"]:
                raise ValueError(f"axes {codes} are not three of R/L, A/P and S/I.")

    def there(self, volume: Tensor) -> Tensor:
        """The network's order and directions, with a channel."""
        return volume.permute(0, *[1 + i for i in self._order]).flip(self._flips).unsqueeze(1)

    def back(self, volume: Tensor) -> Tensor:
        """Inverse of :meth:`there`."""
        return volume.squeeze(1).flip(self._flips).permute(0, *[1 + self._order.index(i) for i in range(3)])

    @property
    def _order(self) -> list[int]:
        return [next(i for i, v in enumerate(self.volume) if _PAIR[v] == _PAIR[code]) for code in self.network]

    @property
    def _flips(self) -> list[int]:
        return [1 + i for i, code in enumerate(self.network) if code not in self.volume]


@dataclass(frozen=True)
class VolumeDenoiser:
    """Denoises ``(b, p, q, n)`` volumes by a 3D network.

    Attributes:
        denoise: 3D denoiser of ``(b, 1, x, y, z)``. Where ``numbers`` are given it takes a condition as well.
        orientation: from the volume's axes to the network's.
        background: ``(p, q, n)`` the interpolated scan. It is what a conditioned network sees, and it stays where the
            network does not reach. None leaves the input there.
        shape: field of view of a network that has a fixed one, in voxels. It is centred on the volume; of a volume
            that is longer from foot to head it covers the top. Voxels outside keep the background, and what the volume
            lacks is filled with air. None for a network of any shape.
        patch: edges of overlapping patches in voxels, for a network of any shape. None takes the whole volume at once.
        overlap: of neighbouring patches, as a fraction of their edge.
        multiple: sizes are padded to a multiple of this many voxels.
        numbers: of the acquisition, for a conditioned network. None for others.

    Raises:
        ValueError: for numbers without the interpolated scan as background.
    """

    denoise: Callable[..., Tensor]
    orientation: Orientation
    background: Tensor | None = None
    shape: tuple[int, int, int] | None = None
    patch: Sequence[int] | None = None
    overlap: float = 0.25
    multiple: int = 1
    numbers: ScanNumbers | None = None

    def __post_init__(self) -> None:
        require_background(self.numbers, self.background)

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        with all_cores():
            return self._whole(x, sigma)

    def _whole(self, x: Tensor, sigma: float) -> Tensor:
        native = self.orientation.there(x)
        outside = x if self.background is None else self.background.to(x).expand_as(x)
        if self.shape is not None:
            out = self._fixed(native, self.orientation.there(outside), sigma)
            return self.orientation.back(out)
        if self.numbers is not None:  # the interpolated scan travels as a second channel
            native = torch.cat([native, self.orientation.there(outside)], dim=1)
        if self.patch is not None:
            size = [
                -(-min(p, n) // self.multiple) * self.multiple
                for p, n in zip(self.patch, native.shape[2:], strict=True)
            ]
            from monai.inferers.utils import sliding_window_inference

            merged = sliding_window_inference(
                native,
                size,
                1 if x.device.type == "cpu" else PATCHES_PER_GPU_BATCH,
                lambda part: self._denoise(part, sigma),
                overlap=self.overlap,
                padding_mode="replicate",
                roi_weight_map=_importance(tuple(size), native.device, native.dtype),
            )
            assert isinstance(merged, Tensor)
            out = merged
        else:
            spare = [-n % self.multiple for n in native.shape[2:]]
            padded = F.pad(native, (0, spare[2], 0, spare[1], 0, spare[0]), mode="replicate")
            a, b, c = native.shape[2:]
            out = self._denoise(padded, sigma)[..., :a, :b, :c]
        return self.orientation.back(out)

    def reached(self, shape: Sequence[int]) -> Tensor:
        """``(p, q, n)`` which voxels of a volume of that shape the network sees."""
        ones = replace(self, denoise=lambda x, *_: torch.ones_like(x), background=torch.zeros(*shape))
        return ones(torch.zeros(1, *shape), 0.0)[0] > 0.5

    def _denoise(self, part: Tensor, sigma: float) -> Tensor:
        if self.numbers is None:
            return self.denoise(part, sigma)
        noisy, scan = part.split(1, dim=1)
        return self.denoise(noisy, sigma, ScanCondition.of(scan, self.numbers))

    def _fixed(self, native: Tensor, outside: Tensor, sigma: float) -> Tensor:
        """Crop and pad to ``shape``, denoise, and put the result back.

        Both are done about the centre, but for the axis from foot to head, of which the neck is cut. The padding is air
        with noise of level ``sigma``, the same for every item, so that a batch makes no difference.
        """
        assert self.shape is not None
        source, target = [slice(None)] * 2, [slice(None)] * 2
        for code, have, want in zip(self.orientation.network, native.shape[2:], self.shape, strict=True):
            common = min(have, want)
            first, start = {"S": have - common, "I": 0}.get(code, (have - common) // 2), (want - common) // 2
            source.append(slice(first, first + common))
            target.append(slice(start, start + common))
        air = resident(_air(self.shape), native)
        frame = (-1 + sigma * air).repeat(len(native), 1, 1, 1, 1)
        frame[tuple(target)] = native[tuple(source)]
        out = outside.clone()
        out[tuple(source)] = self.denoise(frame, sigma)[tuple(target)]
        return out


@lru_cache(maxsize=4)
def _importance(size: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """MONAI's Gaussian weights of a patch, made once."""
    from monai.data.utils import compute_importance_map

    return compute_importance_map(size, mode="gaussian", sigma_scale=0.125, device=device, dtype=dtype)


@lru_cache(maxsize=2)
def _air(shape: tuple[int, int, int]) -> Tensor:
    """Unit white noise ``(1, 1, x, y, z)``, always the same."""
    return torch.randn((1, 1, *shape), generator=torch.Generator().manual_seed(0))


def turned_in_turn(denoiser: VolumeDenoiser) -> list[VolumeDenoiser]:
    """The same, each time through another mirror and every second time with the first two axes swapped.

    For a prior that was trained on blocks mirrored and turned, as :func:`focvs.priors.planes.mirrored_in_turn`.
    """
    there = denoiser.orientation
    turns = []
    for i, flips in enumerate(itertools.product((False, True), repeat=3)):
        axes = [_OPPOSITE[code] if flip else code for code, flip in zip(there.network, flips, strict=True)]
        patch = denoiser.patch
        if i % 2:
            axes[:2] = axes[1], axes[0]
            patch = None if patch is None else (patch[1], patch[0], patch[2])
        turns.append(replace(denoiser, orientation=replace(there, network="".join(axes)), patch=patch))
    return turns


@dataclass(frozen=True)
class Rescaled:
    """A denoiser whose network sees gain * (x + 1) - 1: air stays at -1, and the maximum instead of the 99.5th
    percentile can be +1.

    Attributes:
        denoise: in the network's units.
        gain: the network's units per prior unit.
    """

    denoise: Callable[..., Tensor]
    gain: float

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        return (self.denoise(self.gain * (x + 1) - 1, self.gain * sigma) + 1) / self.gain - 1


@dataclass(frozen=True)
class Padded:
    """A 2D denoiser whose slices are padded by replication to a multiple of pixels.

    Attributes:
        denoise: of ``(slices, 1, h, w)``.
        multiple: of pixels.
    """

    denoise: Any
    multiple: int

    @property
    def dtype(self) -> torch.dtype:
        """That the network computes in."""
        return cast(torch.dtype, self.denoise.dtype)

    def at(self, dtype: torch.dtype, *, compiled: bool = False) -> Padded:
        """The same in another precision, compiled if asked for."""
        return replace(self, denoise=self.denoise.at(dtype, compiled=compiled))

    def on(self, device: str) -> Padded:
        """The same on another device."""
        return replace(self, denoise=self.denoise.on(device))

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        height, width = x.shape[-2:]
        pad_h, pad_w = -height % self.multiple, -width % self.multiple
        if pad_h or pad_w:
            x = F.pad(x, (0, pad_w, 0, pad_h), mode="replicate")
        return self.denoise(x, sigma)[..., :height, :width]
