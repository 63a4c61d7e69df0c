"""adapt=true: the scan's own prior, trained once and kept by the hash of everything that made it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from focvs import __version__
from focvs.acquisition.degradation import make_degradation
from focvs.errors import InputError, PriorError
from focvs.parallel import all_cores
from focvs.priors.denoiser import EDMDenoiser
from focvs.priors.mean import SlabDenoiser
from focvs.priors.mean_network import MeanUNet2D, SlabUNet2D
from focvs.priors.own import save_prior
from focvs.priors.pretrained import load_prior
from focvs.priors.prior import Inference, Prior
from focvs.priors.volumetric import Padded
from focvs.reconstruction.case import Case
from focvs.reconstruction.forward_model import Acquisition
from focvs.reconstruction.progress import in_words
from focvs.run_config import AdaptationConfig
from focvs.training.fine_tuning import Adaptable, AdaptationPlan, adapt

log = logging.getLogger(__name__)

MOST_SLICES, LEAST_AREA = 40, 0.25  # slices used, and the head in them as a fraction of the largest one
STEP_COST = 3.5  # of a step, in evaluations of its patches
PHASES = 8  # different positions of the slices against the pixels


def adapt_prior(case: Case, config: AdaptationConfig, progress: bool = True) -> Prior:
    """The prior fine-tuned on the scan's own slices, or what an earlier run kept of exactly this.

    Of a mean the first stage is; what later stages see is nearer to the head then. It keeps the path and hash of the
    prior it was made from, not its table of errors, which is of other weights.

    Args:
        case: the scan, and a prior of ours, whose files are only read.
        config: steps, learning rate, method, cache.
        progress: show a bar when run in a terminal.

    Raises:
        InputError: for a prior that cannot be adapted, or an option outside its valid range.
    """
    prior, slices, acquisition, device = case.prior, case.slices, case.acquisition, case.device
    plan = AdaptationPlan(**{k: v for k, v in asdict(config).items() if k != "cache"})
    _check(plan)
    inference = prior.denoise
    network = inference.denoiser.network if isinstance(inference, Inference) else None
    if not isinstance(inference, Inference) or not isinstance(network, Adaptable):
        raise InputError(
            "adapt=true fine-tunes 2D priors of this project only; use prior=mean2d, prior=head2d with "
            "quality=samples, or adapt=false."
        )
    # head2d was trained in float32, and float16 would need its losses scaled
    reduced = isinstance(network, SlabUNet2D) and inference.dtype == torch.bfloat16
    dtype = torch.bfloat16 if reduced else torch.float32
    order = slices.largest(LEAST_AREA)
    images, masks = slices.images(order[:: max(1, len(order) // MOST_SLICES)].sort().values)
    pixel_mm = float(np.mean(case.scan.in_plane_mm))
    profile, spacing_px = acquisition.profile.scaled(1 / pixel_mm), acquisition.grid.spacing_mm / pixel_mm

    kept = cache_folder(config) / _key(prior, images, masks, plan, acquisition, pixel_mm, slices.noise_prior, dtype)
    if (found := _load_kept(kept, device)) is not None:
        log.info("adapted prior from %s", kept)
        return _adapted(prior, found.denoise.at(inference.dtype))
    phases = [make_degradation(profile, spacing_px, plan.patch, i / PHASES) for i in range(PHASES)]
    if case.seconds_per_pixel is not None:
        pixels = plan.steps * plan.batch_size * plan.patch**2
        log.info("%s: adapting takes about %s", case.scan.stem, in_words(STEP_COST * pixels * case.seconds_per_pixel))
    bar = tqdm(total=plan.steps, desc="adapting", disable=None if progress else True, leave=False)
    try:
        with bar, all_cores():
            here = images.to(device), masks.to(device)
            tuned = adapt(network, *here, phases, slices.noise_prior, plan, lambda *_: bar.update(), dtype)
    except ValueError as error:
        raise InputError(f"the prior cannot be adapted: {error}") from error
    _keep(tuned, kept)
    if (found := _load_kept(kept, device)) is not None:  # rounded to half precision, as any later run will have it
        return _adapted(prior, found.denoise.at(inference.dtype))
    denoiser = SlabDenoiser(tuned) if isinstance(tuned, MeanUNet2D) else EDMDenoiser(tuned)
    return _adapted(prior, Inference(denoiser, device, inference.dtype))


def _adapted(prior: Prior, denoise: Inference | Padded) -> Prior:
    """The prior with other weights, of whose errors its table says nothing."""
    return replace(prior, denoise=denoise, errors=None)


def cache_folder(config: AdaptationConfig) -> Path:
    """``adaptation.cache``, or the user's cache folder."""
    if config.cache:
        return Path(config.cache)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "focvs" / "adapted"


def _load_kept(folder: Path, device: str) -> Prior | None:
    if not (folder / "config.json").is_file():
        return None
    try:
        return load_prior(folder, device)
    except PriorError as error:
        log.warning("the kept adaptation is not usable: %s", error)
        return None


def _check(plan: AdaptationPlan) -> None:
    ranges = (
        ("steps", plan.steps, plan.steps >= 1, "at least 1"),
        ("learning_rate", plan.learning_rate, plan.learning_rate > 0, "above 0"),
        ("rank", plan.rank, plan.rank >= 1, "at least 1"),
        ("batch_size", plan.batch_size, plan.batch_size >= 1, "at least 1"),
        ("patch", plan.patch, plan.patch >= 16, "at least 16"),
    )
    for key, number, good, needed in ranges:
        if not good:
            raise InputError(f"adaptation.{key}={number:g} must be {needed}.")


def _key(
    prior: Prior,
    images: Tensor,
    masks: Tensor,
    plan: AdaptationPlan,
    acquisition: Acquisition,
    pixel_mm: float,
    noise_sigma: float,
    dtype: torch.dtype,
) -> str:
    """Hash of weights, slices, settings and the version, whose draws may differ."""
    profile = acquisition.profile
    shape = [] if profile.density is None else [float(d) for d in profile.density]
    numbers = [str(dtype), profile.kind, profile.fwhm_mm, acquisition.grid.spacing_mm, pixel_mm, noise_sigma, shape]
    digest = hashlib.sha256(json.dumps([__version__, prior.sha256, asdict(plan), numbers]).encode())
    digest.update(images.numpy().tobytes())
    digest.update(masks.numpy().tobytes())
    return digest.hexdigest()[:32]


def _keep(network: Adaptable, folder: Path) -> None:
    """Write the network under its final name in one step; a cache that cannot be written is no error."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            save_prior(network, Path(name) / "prior", torch.float16)
            shutil.rmtree(folder, ignore_errors=True)
            (Path(name) / "prior").rename(folder)
    except OSError as error:
        log.warning("the adapted prior could not be kept in %s (%s)", folder, error)
