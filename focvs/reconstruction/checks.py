"""Options that no scan could be restored with, refused before anything is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from focvs.acquisition.profile import SHAPES
from focvs.config import parse_auto
from focvs.errors import InputError
from focvs.priors.precision import PRECISIONS
from focvs.reconstruction.baselines import GUIDED, METHODS
from focvs.reconstruction.setup import schedule
from focvs.run_config import RunConfig
from focvs.sampling.consistency import RULES, SPECTRAL_RULES
from focvs.sampling.samplers import SAMPLERS
from focvs.scan.formats import image_stem


def excluded(config: RunConfig) -> tuple[list[int], list[str]]:
    """Numbers of slices of the first stack, and names of further stacks, that ``exclude=`` leaves out.

    Raises:
        InputError: for a stack that is not there, or a number that is none.
    """
    numbers, names = [], []
    for value in config.exclude:
        if isinstance(value, int) and not isinstance(value, bool):
            numbers.append(value)
            continue
        found = [name for name in config.stacks if str(value) in (name, Path(name).name)]
        if not found:
            raise InputError(
                f"exclude={value} is neither the number of a slice nor one of the further stacks "
                f"({', '.join(config.stacks) or 'there are none'})."
            )
        names += found
    return numbers, names


def leave_out(config: RunConfig, names: Sequence[str]) -> RunConfig:
    """The configuration without some of its further stacks, and without their thickness where each has one."""
    kept = [i for i, name in enumerate(config.stacks) if name not in names]
    thickness = config.thickness
    if isinstance(thickness, list) and len(thickness) == 1 + len(config.stacks):
        thickness = [thickness[0], *(thickness[1 + i] for i in kept)]
    return replace(config, stacks=[config.stacks[i] for i in kept], thickness=thickness)


def check_options(config: RunConfig) -> None:
    """Refuse options that no scan could be restored with.

    Raises:
        InputError: one sentence about the first of them.
    """
    choices = (
        ("sampler.name", config.sampler.name, ("mean", *SAMPLERS)),
        ("precision", config.precision, PRECISIONS),
        ("consistency.rule", config.consistency.rule, RULES),
        ("profile.kind", config.profile.kind, (*SHAPES, "sampled")),
        ("method", config.method, ("focvs", *METHODS)),
        ("align", config.align, ("rigid", "headers")),
        ("dtype", config.dtype, ("float32", "int16")),
        ("rician_bias", config.rician_bias, ("auto", "off")),
        ("log", config.log, ("text", "json")),
    )
    for key, value, accepted in choices:
        if value not in accepted:
            raise InputError(f"{key}={value} is not known; choose one of {', '.join(accepted)}.")
    ranges = (
        ("samples", config.samples, config.samples >= 0, "at least 0"),
        ("seed", config.seed, config.seed >= 0, "at least 0"),
        ("workers", config.workers, config.workers >= 1, "at least 1"),
        ("devices", config.devices, config.devices >= 1, "at least 1"),
        ("isotropic", config.isotropic or 0.0, config.isotropic is None or 0 < config.isotropic < 100, "0 to 100 mm"),
        ("baseline.tv_weight", config.baseline.tv_weight, config.baseline.tv_weight > 0, "above 0"),
        ("baseline.tv_iterations", config.baseline.tv_iterations, config.baseline.tv_iterations >= 1, "at least 1"),
        ("baseline.training_steps", config.baseline.training_steps, config.baseline.training_steps >= 2, "at least 2"),
        ("sampler.levels", config.sampler.levels, config.sampler.levels >= 1, "at least 1"),
        ("steps", 1 if config.steps is None else config.steps, config.steps is None or config.steps >= 1, "at least 1"),
        ("sampler.mirrors", config.sampler.mirrors, config.sampler.mirrors in (1, 2, 4), "1, 2 or 4"),
        ("sampler.rho", config.sampler.rho, config.sampler.rho > 0, "above 0"),
        ("sampler.temperature", config.sampler.temperature, 0 <= config.sampler.temperature <= 1, "between 0 and 1"),
        ("sampler.eta", config.sampler.eta, 0 <= config.sampler.eta <= 1, "between 0 and 1"),
        ("sampler.guidance", config.sampler.guidance, config.sampler.guidance > 0, "above 0"),
        ("consistency.air", config.consistency.air, 0 < config.consistency.air <= 1, "above 0 and at most 1"),
        ("consistency.strength", config.consistency.strength, config.consistency.strength > 0, "above 0"),
        ("consistency.eta", config.consistency.eta, 0 <= config.consistency.eta <= 1, "between 0 and 1"),
        ("profile.time_bandwidth", config.profile.time_bandwidth, config.profile.time_bandwidth >= 2, "at least 2"),
    )
    for key, number, good, needed in ranges:
        if not good:
            raise InputError(f"{key}={number:g} must be {needed}.")
    if config.save_samples and not config.samples:
        raise InputError("save_samples=true needs samples to save; give samples= at least 1.")
    if config.method == "focvs" and config.sampler.name != "mean":
        own = config.quality == "default" and config.prior.path is not None and config.samples
        if config.quality not in ("samples", "paper") and not own:
            raise InputError(f"sampler={config.sampler.name} is not for quality={config.quality}; add quality=samples.")
        if not config.samples:
            raise InputError(f"sampler={config.sampler.name} needs samples; give samples= at least 1.")
        if config.sampler.mirrors != 1:
            raise InputError("sampler.mirrors= is for sampler=mean; leave it out.")
    if config.devices > 1 and (config.method != "focvs" or not config.samples):
        raise InputError(f"devices={config.devices} draw samples between them; give samples=, or leave devices= out.")
    if config.devices > 1 and config.compile:
        raise InputError(f"devices={config.devices} cannot go with compile=true; leave one of them out.")
    patch = config.prior.patch
    if (patch is not None and (len(patch) != 3 or min(patch) < 1)) or not 0 <= config.prior.overlap < 1:
        raise InputError(
            f"prior.patch={patch} with prior.overlap={config.prior.overlap:g} cannot be; give three positive numbers "
            "of voxels and an overlap of at least 0 and below 1."
        )
    excluded(config)
    if config.shard is not None:
        raise InputError(f"shard={config.shard} takes a part of a folder of scans, and {config.scan} is one scan.")
    if config.output_dir is not None and image_stem(Path(config.output_dir)) != Path(config.output_dir).name:
        raise InputError(
            f"output_dir={config.output_dir} is the name of an image, and results go to a folder; give one, such as "
            f"{image_stem(Path(config.output_dir))}/."
        )
    if config.echo is not None and config.echo < 1:
        raise InputError(f"echo={config.echo} must be at least 1.")
    if config.consistency.rule in SPECTRAL_RULES and config.sampler.name != "ddpm":
        raise InputError(
            f"consistency={config.consistency.rule} is an ancestral sampler and cannot go with "
            f"sampler={config.sampler.name}; add sampler=ddpm."
        )
    if config.sampler.name == "dps" and config.consistency.rule != "none":
        raise InputError("sampler=dps follows a gradient where others replace; add consistency=none.")
    if config.sampler.name == "dps" and config.stacks:
        raise InputError("sampler=dps restores one stack; leave it out for several.")
    for name in config.stacks:
        if Path(name).resolve() == Path(config.scan).resolve():
            raise InputError(f"{name} is given twice: results go to a folder, and further stacks are other scans.")
        if not Path(name).exists():
            raise InputError(
                f"{name} does not exist: results go to a folder, such as {Path(name).name.partition('.')[0]}/, and "
                "further stacks are files that are there."
            )
        if Path(name).is_dir() and config.output_dir is None:
            raise InputError(
                f"{name} is a folder of DICOM files: give an output folder as well, its NIfTI is left there."
            )
    if config.guide is not None and not Path(config.guide).exists():
        raise InputError(f"guide={config.guide} is not there; give an image file, or a folder of DICOM files.")
    if config.guide is not None and Path(config.guide).is_dir() and config.output_dir is None:
        raise InputError(
            f"guide={config.guide} is a folder of DICOM files: give an output folder as well, its NIfTI is left there."
        )
    if config.guide is not None and Path(config.guide).resolve() == Path(config.scan).resolve():
        raise InputError(f"guide={config.guide} is the scan itself; give another contrast of the same head.")
    if config.guide is not None and config.method not in ("focvs", GUIDED):
        raise InputError(f"method={config.method} looks at no guide; leave out guide=, or method=.")
    if config.guide is None and config.method == GUIDED:
        raise InputError(f"method={GUIDED} needs guide=, another contrast of the same head.")
    if config.method != "focvs" and config.stacks:
        raise InputError(f"method={config.method} restores one stack; leave it out for several.")
    if config.consistency.rule in SPECTRAL_RULES and config.stacks:
        raise InputError(
            f"consistency={config.consistency.rule} restores one stack; take calibrated, diffpir or ddnm for several."
        )
    schedule(config)
    at_once = parse_auto("batch", config.batch)
    if at_once is not None and (at_once < 1 or at_once != int(at_once)):
        raise InputError(f"batch={config.batch} must be auto or a whole number of at least 1.")
    parse_auto("voxel", config.voxel)
    parse_auto("noise", config.noise)
