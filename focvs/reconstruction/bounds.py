"""The uncertainty that is written with a mean: deviations, the interval, and what the interval rests on."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from focvs.acquisition.profile import EXCITED
from focvs.priors.intervals import Interval
from focvs.priors.prior import Prior
from focvs.reconstruction.forward_model import Acquisition
from focvs.reconstruction.restoration import Restoration
from focvs.run_config import Planes, RunConfig
from focvs.sampling.statistics import (
    POOLING,
    half_width,
    normal_quantile,
    predictive_deviation,
    replaced_noise,
    summarise,
)
from focvs.scan.scan import Scan

INTERVAL = 0.9  # of the head's voxels between q05 and q95


def interval_settings(config: RunConfig, rule: str, exact: bool) -> dict[str, str | float | bool]:
    """What decides how far samples are from the truth: measured intervals hold for runs that agree in all of it.

    Args:
        config: what was asked for.
        rule: consistency rule that was used.
        exact: whether the last exact replacement was made.
    """
    sampler = config.sampler
    if sampler.name == "mean":
        return {
            "sampler": sampler.name,
            "consistency": rule,
            "consistency.air": config.consistency.air if rule == "calibrated" else 0.0,
            "consistency.strength": config.consistency.strength if rule == "diffpir" else 0.0,
            "planes": "average" if config.planes in (Planes.average, Planes.alternate) else config.planes.value,
            "final_replacement": exact,
        }
    return {
        "sampler": sampler.name,
        "steps": config.steps or sampler.steps or 0,
        "sampler.temperature": sampler.temperature if sampler.name == "resample" else 0.0,
        "sampler.sigma_start": "auto" if sampler.sigma_start is None else sampler.sigma_start,
        "sampler.sigma_end": sampler.sigma_end,
        "sampler.rho": sampler.rho,
        "sampler.eta": sampler.eta if sampler.name == "ddim" else 0.0,
        "sampler.guidance": sampler.guidance if sampler.name == "dps" else 0.0,
        "consistency": rule,
        "consistency.air": config.consistency.air if rule == "calibrated" else 0.0,
        "consistency.strength": config.consistency.strength if rule == "diffpir" else 0.0,
        "consistency.eta": config.consistency.eta if rule == "ddrm" else 0.0,
        "pooling": POOLING,
        "planes": config.planes.value,
        "adapt": config.adapt,
        "final_replacement": exact,
    }


def choose_interval(
    config: RunConfig, prior: Prior, rule: str, exact: bool, thickness_mm: float, spacing_mm: float, stacks: int
) -> Interval | None:
    """Width of the interval from q05 to q95, in predictive deviations, and what it rests on.

    Args:
        config: what was asked for.
        prior: with its table of intervals, if it has one.
        rule: consistency rule that was used.
        exact: whether the last exact replacement was made.
        thickness_mm: FWHM of the slices.
        spacing_mm: of the slices.
        stacks: how many there are besides the first.

    Returns:
        None for a single sample, or a mean of which the prior does not tell how far it may be off.
    """
    table = prior.intervals
    if config.samples < 2 and not (config.sampler.name == "mean" and prior.deviation is not None):
        return None
    normal = Interval(INTERVAL, normal_quantile(INTERVAL), False, "")
    if table is None:
        return replace(normal, reason="no intervals were measured for this prior")
    if table.weights != prior.sha256:
        return replace(normal, reason="intervals were measured for other weights")
    if stacks:
        return replace(normal, reason="intervals were measured for single stacks only")
    used = interval_settings(config, rule, exact)
    differ = [key for key in {**used, **table.settings} if used.get(key) != table.settings.get(key)]
    other = [f"{key}={table.settings.get(key, 'unknown')}" for key in differ if key != "final_replacement"]
    if other:
        return replace(normal, reason=f"intervals were measured for {', '.join(other)} only")
    heads = ", ".join(sorted({head for row in table.rows for head in row.heads}))
    spacings = ", ".join(f"{row.spacing_mm:g}" for row in table.rows)
    drawn = f", {table.samples} samples" if table.samples else ""
    unguided = "" if config.guide is None else ", no guide"
    reason = f"measured on {heads} with slices every {spacings} mm{drawn}, no added noise{unguided}"
    far = []
    if not table.reaches(thickness_mm, spacing_mm):
        far.append(f"slices of {thickness_mm:.3g} mm every {spacing_mm:.3g} mm")
    if config.profile.kind not in EXCITED:
        far.append(f"profile={config.profile.kind}")
    if config.guide is not None and prior.guided_deviation is None:
        far.append("a mean with a guide")
    if config.adapt and config.sampler.name == "mean":
        far.append("a mean adapted to its scan")
    if "final_replacement" in differ:
        far.append(f"a mean that is {'' if exact else 'not '}made to reproduce the scan exactly")
    if far:
        reason = f"{reason}; {' and '.join(far)} is far from those, so the nearest factor was used"
    return Interval(INTERVAL, table.factor(spacing_mm, INTERVAL), not far, reason)


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """Maps of what a restoration leaves open, ``(p, q, n)`` in the scan's intensities.

    Attributes:
        std: standard deviation of the samples as they are written, or of the error of a mean, as the prior tells it.
        nullstd: of the part of them that the scan says nothing about; at most ``std``.
        q05: lower end of the interval.
        q95: upper end.
    """

    std: np.ndarray
    nullstd: np.ndarray
    q05: np.ndarray
    q95: np.ndarray


def measure_uncertainty(restoration: Restoration, scan: Scan, acquisition: Acquisition) -> Uncertainty | None:
    """Deviations of the written samples, and the interval around the mean.

    The interval reaches as far as :func:`half_width` says of samples, and a multiple of the deviation that a prior
    tells of its mean. Where the scan is nowhere below zero, neither end is: the lower one except where the mean itself
    is, the upper one never. It is the mean where nothing was computed.

    Args:
        restoration: its samples, and the interval that was chosen.
        scan: as acquired.
        acquisition: its forward model.

    Returns:
        None for fewer than two samples, whose spread is unknown, or a mean of which the prior tells nothing.
    """
    interval, count = restoration.interval, len(restoration.samples)
    if interval is None or restoration.sampled is None:
        return None
    noise: Tensor | float = 0.0
    if restoration.exact:
        noise = replaced_noise(acquisition.written, restoration.noise_intensity).float()
    if restoration.deviation is not None:  # of the whole error, the noise that was taken over included
        std = torch.from_numpy(restoration.deviation)
        null_std = (std.square() - torch.as_tensor(noise).square()).clamp_min(0).sqrt()
        width = interval.factor * std
    elif count < 2:
        return None
    else:
        summary = summarise(map(torch.from_numpy, restoration.samples), acquisition.written)
        std, null_std = summary.std, summary.null_std
        deviation = predictive_deviation(std, count, restoration.scale)
        width = half_width(deviation, interval.factor, noise, interval.level)
    reach = (width * torch.from_numpy(restoration.sampled)).numpy()
    mean = restoration.mean
    lowest = np.minimum(mean, min(0.0, float(scan.data.min())))
    low, high = np.maximum(mean - reach, lowest), mean + reach
    high = np.where(reach > 0, np.maximum(high, min(0.0, float(scan.data.min()))), high)
    return Uncertainty(std.numpy(), null_std.numpy(), low, high)
