"""The denoiser's error spectrum s_t, measured on images and volumes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from focvs.acquisition.dct import dct_matrix
from focvs.priors.condition import ScanCondition
from focvs.priors.denoiser import Denoiser
from focvs.priors.error_table import ErrorTable

BLOCK = 32  # pixels of a block whose DCT is taken; errors of a denoiser are correlated over a few pixels


def measure_errors(
    denoise: Callable[..., Tensor],
    images: Tensor,
    mask: Tensor,
    sigmas: Tensor,
    pixel_mm: float,
    seed: int = 0,
    scan_of: Callable[[Tensor], ScanCondition] | None = None,
) -> ErrorTable:
    """Noise images, denoise them, and take the error's spectrum along both image axes inside a mask.

    Args:
        denoise: 2D denoiser.
        images: ``(k, 1, h, w)`` in prior units.
        mask: ``(k, 1, h, w)`` boolean; only blocks of ``BLOCK`` pixels that lie in it entirely count.
        sigmas: ``(levels,)`` noise levels, any order.
        pixel_mm: pixel size in mm.
        seed: of the noise.
        scan_of: for a conditioned prior, the scan of images ``(k, 1, h, w)`` along their last axis; each axis of
            the images then takes its turn as the slice axis.

    Raises:
        ValueError: if no block fits into the mask.
    """
    generator = torch.Generator().manual_seed(seed)
    transform = dct_matrix(BLOCK).to(images)
    blocks = [_blocks(mask, axis).all(-1) for axis in (-1, -2)]
    if not any(b.any() for b in blocks):
        raise ValueError(f"no run of {BLOCK} pixels lies inside the head: the slices are too small to calibrate on.")
    turned = (images, images.mT.contiguous())
    scans = None if scan_of is None else [scan_of(t) for t in turned]
    rows = []
    ordered = sigmas.double().sort().values
    for sigma in ordered.tolist():
        noise = torch.randn(images.shape, generator=generator, dtype=torch.float32).to(images)
        if scans is None:
            error = denoise(images + sigma * noise, sigma) - images
            errors = [error, error.mT]
        else:
            noisy = (images + sigma * noise, (images + sigma * noise).mT.contiguous())
            errors = [denoise(x, sigma, scan) - t for x, t, scan in zip(noisy, turned, scans, strict=True)]
        parts = [_blocks(e, -1)[inside] @ transform.T for e, inside in zip(errors, blocks, strict=True)]
        rows.append(_smooth(torch.cat(parts).cpu().double().square().mean(0)))
    return ErrorTable(ordered.cpu(), torch.stack(rows).cpu(), pixel_mm)


def measure_volume_errors(
    denoise: Denoiser,
    volume: Tensor,
    mask: Tensor,
    sigmas: Tensor,
    voxel_mm: float,
    seed: int = 0,
    axes: Sequence[int] = (0, 1, 2),
) -> ErrorTable:
    """As :func:`measure_errors` for a volume denoiser: ``volume`` and ``mask`` ``(p, q, n)``, along ``axes``.

    Raises:
        ValueError: if no block fits into the mask.
    """
    generator = torch.Generator().manual_seed(seed)
    transform = dct_matrix(BLOCK).to(volume)
    blocks = {axis: _blocks(mask, axis).all(-1) for axis in axes}
    if not any(b.any() for b in blocks.values()):
        raise ValueError(f"no run of {BLOCK} voxels lies inside the head: the volume is too small to calibrate on.")
    rows = []
    ordered = sigmas.double().sort().values
    for sigma in ordered.tolist():
        noise = torch.randn(volume.shape, generator=generator, dtype=torch.float32).to(volume)
        error = denoise((volume + sigma * noise)[None], sigma)[0] - volume
        parts = [_blocks(error, axis)[inside] @ transform.T for axis, inside in blocks.items()]
        rows.append(_smooth(torch.cat(parts).cpu().double().square().mean(0)))
    return ErrorTable(ordered.cpu(), torch.stack(rows).cpu(), voxel_mm)


def measure_turned_errors(
    told: Callable[[Tensor], Denoiser], volume: Tensor, mask: Tensor, sigmas: Tensor, voxel_mm: float, seed: int = 0
) -> ErrorTable:
    """As :func:`measure_volume_errors` for a conditioned 3D prior, along the first two axes of ``volume`` only.

    Each of these two axes, if a block fits into the mask along it, is in turn made the last axis and the slice axis of
    a scan simulated from the volume; errors are measured along it.

    Args:
        told: from a volume ``(p, q, n)`` to the denoiser that is told of its scan along n.
        volume: ``(p, q, n)`` in prior units.
        mask: ``(p, q, n)`` boolean.
        sigmas: ``(levels,)`` noise levels, any order.
        voxel_mm: along the first two axes.
        seed: of the noise.

    Raises:
        ValueError: if no block fits into the mask along either.
    """
    variances = []
    for axis in (0, 1):
        turned, inside = (v.transpose(axis, 2).contiguous() for v in (volume, mask))
        if _blocks(inside, 2).all(-1).any():
            table = measure_volume_errors(told(turned), turned, inside, sigmas, voxel_mm, seed, axes=(2,))
            variances.append(table.variance)
    if not variances:
        raise ValueError(f"no run of {BLOCK} voxels lies inside the head: the volume is too small to calibrate on.")
    return ErrorTable(sigmas.double().sort().values.cpu(), torch.stack(variances).mean(0), voxel_mm)


def wiener_errors(images: Tensor, mask: Tensor, sigmas: Tensor, pixel_mm: float) -> ErrorTable:
    """The error spectrum S s^2 / (S + s^2) of the best linear denoiser, S the power of the images themselves.

    The fallback for a prior nobody has measured (design section 1); arguments as :func:`measure_errors`.

    Raises:
        ValueError: if no block fits into the mask.
    """
    transform = dct_matrix(BLOCK).to(images)
    centred = images - images[mask].mean()
    parts = [_blocks(centred, axis)[_blocks(mask, axis).all(-1)] @ transform.T for axis in (-1, -2)]
    coefficients = torch.cat(parts)
    if not len(coefficients):
        raise ValueError(f"no run of {BLOCK} pixels lies inside the head: the slices are too small to calibrate on.")
    power = _smooth(coefficients.cpu().double().square().mean(0))
    ordered = sigmas.double().sort().values.cpu()
    noise = ordered[:, None] ** 2
    return ErrorTable(ordered, power * noise / (power + noise), pixel_mm)


def _blocks(images: Tensor, axis: int) -> Tensor:
    """Half-overlapping runs of ``BLOCK`` pixels along ``axis``, as the last axis; the other axes keep their order."""
    if images.shape[axis] < BLOCK:
        return images.new_zeros((0, BLOCK))
    return images.movedim(axis, -1).unfold(-1, BLOCK, BLOCK // 2).reshape(-1, BLOCK)


def _smooth(variance: Tensor) -> Tensor:
    """Mean over three neighbouring frequencies, in logarithm, ends kept."""
    log = variance.clamp_min(1e-12).log()
    padded = torch.cat([log[:1], log, log[-1:]])
    return ((padded[:-2] + padded[1:-1] + padded[2:]) / 3).exp()
