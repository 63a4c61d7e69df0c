"""Perceptual distances in the features of VGG16, whose weights the user gives: nothing is downloaded.

Images are ``(k, h, w)`` slices with 0-1 as black and white, shown to the network as grey.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from focvs.errors import InputError, PriorError
from focvs.priors.weights import fill, read_weights

STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of the images it was trained on
SMALLEST_PX = 16  # of a slice: it is halved four times
MOST_SLICES = 64  # of each axis, evenly spread
LEAST_HEAD = 0.1  # of the pixels of a slice within the head's box


class VGG16(nn.Module):
    """The convolutions of VGG16 (Simonyan and Zisserman 2015, configuration D), named as torchvision names them."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        self.taps: list[int] = []
        channels = 3
        for stage, widths in enumerate(STAGES):
            if stage:
                layers.append(nn.MaxPool2d(2))
            for width in widths:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            self.taps.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The last activations of every stage, ``(k, c, h', w')``."""
        mean, deviation = (torch.tensor(v).view(3, 1, 1).to(images) for v in (MEAN, DEVIATION))
        x = (images[:, None] - mean) / deviation
        found = []
        for place, layer in enumerate(self.features):
            x = layer(x)
            if place in self.taps:
                found.append(x)
        return found


class PerceptualDistance:
    """Distances of slices from others, as VGG16 sees them.

    Args:
        weights: VGG16 as torchvision ships it (``vgg16-397923af.pth``), or its convolutions alone.
        linear: weights of its channels as LPIPS ships them (``lpips/weights/v0.1/vgg.pth``); None weighs all alike.

    Raises:
        InputError: for files that cannot be read or are of something else.
    """

    def __init__(self, weights: Path, linear: Path | None = None):
        self.network = VGG16().eval().requires_grad_(False)
        self.linear: list[Tensor] | None = None
        for path in (weights, linear):
            if path is not None and not path.is_file():
                raise InputError(f"{path} is not there; give a file of weights.")
        try:
            table = read_weights(weights)
            fill(self.network, {k: v for k, v in table.items() if not k.startswith("classifier.")}, weights)
            if linear is not None:
                self.linear = _channel_weights(read_weights(linear), linear)
        except PriorError as error:
            raise InputError(str(error)) from error

    @property
    def name(self) -> str:
        """``LPIPS`` with its own channel weights, else ``VGG``."""
        return "VGG" if self.linear is None else "LPIPS"

    def __call__(self, truth: Tensor, estimate: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Distance of each pair of slices, and the features of both.

        Returns:
            ``(k,)`` distances: differences of the activations, each pixel's normalised over channels, squared, weighed,
            summed over channels, averaged over pixels and summed over stages (Zhang et al. 2018, equation 1, whose
            squared weights are those of the file); and twice ``(k, 512)`` last activations averaged over pixels.
        """
        with torch.inference_mode():
            first, second = self.network(truth), self.network(estimate)
        distance = torch.zeros(len(truth))
        for stage, (a, b) in enumerate(zip(first, second, strict=True)):
            difference = (_unit(a) - _unit(b)) ** 2
            if self.linear is not None:
                difference = difference * self.linear[stage].view(-1, 1, 1)
            distance += difference.sum(1).mean((1, 2))
        return distance, first[-1].mean((2, 3)), second[-1].mean((2, 3))


def describe_slices(
    distance: PerceptualDistance, truth: np.ndarray, estimate: np.ndarray, mask: np.ndarray, scale: float
) -> dict[str, float]:
    """Mean distance of slices along all three axes, and FID and KID of their features.

    Up to :data:`MOST_SLICES` slices along each axis, cut to the head's box, with the truth in both outside the head.

    Args:
        distance: of pairs of slices.
        truth: ``(a, b, c)``.
        estimate: ``(a, b, c)``.
        mask: ``(a, b, c)`` boolean head.
        scale: intensity that is white.

    Returns:
        ``distance``, ``fid``, ``kid`` and ``slices``, how many they are of.

    Raises:
        ValueError: if there are less than two slices of 16 by 16 pixels.
    """
    box = tuple(slice(found[0], found[-1] + 1) for found in map(np.unique, mask.nonzero()))
    filled = np.where(mask, estimate, truth)[box]
    images = [torch.from_numpy((image / scale).clip(0, 1).astype(np.float32)) for image in (truth[box], filled)]
    distances: list[float] = []
    features: tuple[list[Tensor], list[Tensor]] = ([], [])
    for axis in range(3):
        if min(np.delete(images[0].shape, axis)) < SMALLEST_PX:
            continue
        others = tuple(i for i in range(3) if i != axis)
        enough = np.flatnonzero(mask[box].mean(others) >= LEAST_HEAD)
        chosen = (
            enough[np.unique(np.linspace(0, len(enough) - 1, MOST_SLICES).round().astype(int))] if len(enough) else []
        )
        for place in chosen:
            pair = [image.select(axis, int(place))[None] for image in images]
            far, first, second = distance(*pair)
            distances.append(float(far))
            features[0].append(first)
            features[1].append(second)
    if len(distances) < 2:
        raise ValueError(f"perceptual distances need slices of at least {SMALLEST_PX} by {SMALLEST_PX} pixels of head.")
    true, found = map(torch.cat, features)
    return {
        "distance": float(np.mean(distances)),
        "fid": frechet_distance(true, found),
        "kid": kernel_distance(true, found),
        "slices": len(distances),
    }


def _unit(features: Tensor) -> Tensor:
    return features / (features.norm(dim=1, keepdim=True) + 1e-10)


def _channel_weights(table: Mapping[str, Tensor], path: Path) -> list[Tensor]:
    names = [f"lin{stage}.model.1.weight" for stage in range(len(STAGES))]
    wanted = {name: (1, widths[-1], 1, 1) for name, widths in zip(names, STAGES, strict=True)}
    if {name: tuple(value.shape) for name, value in table.items()} != wanted:
        raise InputError(f"{path} does not hold the five weights of LPIPS for VGG16 (lpips/weights/v0.1/vgg.pth).")
    return [table[name].float().flatten() for name in names]


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Of Gaussians with the means and covariances of two sets of features (Heusel et al. 2017, equation 6, FID).

    The trace of (S T)^1/2 is the nuclear norm of A B^T where S = A^T A and T = B^T B, which fewer slices than features
    do not upset.

    Args:
        first: ``(k, c)`` features.
        second: ``(l, c)``.

    Raises:
        ValueError: for less than two features.
    """
    _require_two(first, second)
    (a, mean), (b, other) = (_centred(features.double()) for features in (first, second))
    small, other_small = (torch.linalg.qr(features, mode="r").R for features in (a, b))
    trace = a.square().sum() + b.square().sum() - 2 * torch.linalg.matrix_norm(small @ other_small.T, "nuc")
    return float((mean - other).square().sum() + trace)


def _centred(features: Tensor) -> tuple[Tensor, Tensor]:
    mean = features.mean(0)
    return (features - mean) / math.sqrt(len(features) - 1), mean


def kernel_distance(first: Tensor, second: Tensor) -> float:
    """Unbiased squared maximum mean discrepancy, kernel (x . y / c + 1)^3 (Binkowski et al. 2018, KID).

    Args:
        first: ``(k, c)`` features.
        second: ``(l, c)``.

    Raises:
        ValueError: for less than two features.
    """
    _require_two(first, second)

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        return (a.double() @ b.double().T / a.shape[1] + 1) ** 3

    def within(a: Tensor) -> Tensor:
        table = kernel(a, a)
        return (table.sum() - table.diagonal().sum()) / (len(a) * (len(a) - 1))

    return float(within(first) + within(second) - 2 * kernel(first, second).mean())


def _require_two(*sets: Tensor) -> None:
    if min(map(len, sets)) < 2:
        raise ValueError("a distance between sets of slices needs at least two in each.")
