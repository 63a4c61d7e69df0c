"""focvs qmri: maps of proton density, T1 and T2 on thin voxels, with sharp weighted images as guides."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence as Many
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from focvs.commands.restored_signals import pose
from focvs.config import QmriConfig
from focvs.errors import InputError
from focvs.files import require_reachable, require_writable, write_json
from focvs.reconstruction.guide import Guide, align_guide
from focvs.reconstruction.quantitative import Problem, WeightedImage, sharpen_maps
from focvs.reconstruction.signal_domain import Domain, Kind, domain_of_images, domain_of_maps
from focvs.report.map_report import REPORT, Given, describe_maps, map_files, remove_maps, write_maps
from focvs.scan.formats import image_stem
from focvs.scan.maps import read_images, read_maps
from focvs.scan.nifti import axis_last
from focvs.scan.scan import Scan
from focvs.scan.sidecar import read_sidecar
from focvs.signal.protocols import sequence_of
from focvs.signal.sequences import Sequence

log = logging.getLogger(__name__)
QUALITIES = ("fast", "default", "best")
LEAST_SEEN = 0.9  # of the head, that a guide covers


def sharpen(config: QmriConfig) -> dict[str, Path]:
    """Write ``PDmap``, ``T1map``, ``T2map``, their deviations, images that are to be synthesised, a picture, a JSON
    and a page.

    Returns:
        Paths by name.

    Raises:
        InputError: for maps, images, guides, protocols or an option that cannot be worked with, or a folder that cannot
            be written; nothing is written then.
    """
    began = time.perf_counter()
    folder = Path(config.output_dir)
    require_reachable(folder)
    _check(config)
    _require_inputs_kept(config, folder)
    protocols = _protocols(config.guides, config.sequences, "guides", "sequences")
    wanted = {Path(p).stem: sequence_of(_json(Path(p)), Path(p).name) for p in config.synthesise}
    given, domain, signals = read_given(config)
    problem = pose(signals, given.maps, domain, config)
    aligned = _aligned(config, protocols, problem, given)
    guides = [
        WeightedImage(_image(guide, problem), sequence, config.guide_error)
        for guide, sequence in zip(aligned, protocols, strict=True)
    ]
    found = sharpen_maps(problem, guides, config.anchored, seed=config.seed)
    require_writable(folder)
    remove_maps(folder)
    paths = write_maps(found, problem, given, wanted, folder)
    seconds = time.perf_counter() - began
    report = describe_maps(found, problem, given, aligned, config, seconds)
    paths["json"] = folder / REPORT
    write_json(paths["json"], report)
    if config.report:
        from focvs.report.map_page import FinishedMaps, write_map_page  # and with it Jinja

        paths["report"] = write_map_page(FinishedMaps(found, problem, given, report, dict(paths)), folder)
    for warning in report["warnings"]:
        log.warning("%s", warning)
    log.info("wrote %s, relative residual of the signals %.1e", folder, report["residual"]["signals"])
    return paths


def read_given(config: QmriConfig) -> tuple[Given, Domain, np.ndarray]:
    """What was measured, the domain it is worked on in, and its ``(i, j, k, signals)``.

    Raises:
        InputError: for files that cannot be worked with.
    """
    if config.images:
        domain = domain_of_images(_protocols(config.images, config.image_sequences, "images", "image_sequences"))
        images = read_images([Path(path) for path in config.images])
        values = np.zeros((*images.known.shape, 3))
        values[images.known] = domain.maps_of(torch.from_numpy(images.values[images.known])).numpy()
        return Given(replace(images, values=values), domain.found), domain, images.values
    paths = [None if path is None else Path(path) for path in (config.density, config.t1, config.t2)]
    maps = read_maps(paths)
    density, t1, t2 = (path is not None for path in paths)
    domain = domain_of_maps((density, t1, t2), cast(Kind, config.domain))
    signals = np.zeros((*maps.known.shape, len(domain.reference.sequences)))
    signals[maps.known] = domain.reference(torch.from_numpy(maps.values[maps.known])).numpy()
    return Given(maps, domain.found), domain, signals


def protocol_of(image: Path, kind: str | None) -> Sequence:
    """The sequence of an image, from the JSON beside it.

    Raises:
        InputError: where there is none, or it does not tell.
    """
    return sequence_of(_json(image.with_name(image_stem(image) + ".json")), image.name, kind)


def _check(config: QmriConfig) -> None:
    """Refuse options that nothing could be done with.

    Raises:
        InputError: saying which.
    """
    if not 0 < config.guide_error < 1:
        raise InputError(f"guide_error={config.guide_error:g} must be above 0 and below 1, a share of the white level.")
    if config.align not in ("rigid", "headers"):
        raise InputError(f"align={config.align} is not known; choose rigid or headers.")
    if config.domain not in ("signal", "map"):
        raise InputError(f"domain={config.domain} is not known; choose signal or map.")
    if config.signal_quality not in QUALITIES:
        raise InputError(f"signal_quality={config.signal_quality} is not known; choose {', '.join(QUALITIES)}.")
    if config.seed < 0:
        raise InputError(f"seed={config.seed} must be at least 0.")
    if config.samples < 0 or config.samples == 1:
        raise InputError(f"samples={config.samples} cannot be used; give 0, or at least 2 for a deviation.")
    if config.samples and config.signal_quality == "fast":
        raise InputError(f"samples={config.samples} need signal_quality=default or best.")
    maps = [name for name in ("density", "t1", "t2") if getattr(config, name) is not None]
    if config.images and maps:
        raise InputError(f"give either images= or maps ({', '.join(f'{name}=' for name in maps)}), not both.")
    if config.images and config.domain == "map":
        raise InputError("domain=map needs maps, and images= are signals; leave out domain=.")


def _require_inputs_kept(config: QmriConfig, folder: Path) -> None:
    """Refuse a folder in which results would have the names of what they are made from.

    Raises:
        InputError: naming the file.
    """
    maps = [path for path in (config.density, config.t1, config.t2) if path is not None]
    results = {path.resolve() for path in map_files(folder, [Path(path).stem for path in config.synthesise])}
    for name in (*maps, *config.images, *config.guides):
        if not Path(name).exists():
            raise InputError(f"{name} does not exist; give a .nii or .nii.gz file.")
        if Path(name).resolve() in results:
            raise InputError(f"{name} would be replaced by a result of that name; give another output folder.")


def _aligned(config: QmriConfig, protocols: Many[Sequence], problem: Problem, given: Given) -> list[Guide]:
    """Guides, each registered to what its sequence would show of the maps as they are without guides.

    Raises:
        InputError: for a guide that cannot be read, or shows another head.
    """
    if not config.guides:
        return []
    maps = torch.zeros(*problem.mask.shape, 3, dtype=torch.float64)
    maps[problem.mask] = problem.domain.maps_of(problem.estimate[:, problem.mask].T.double())
    found = []
    for path, sequence in zip(config.guides, protocols, strict=True):
        image = torch.zeros(problem.mask.shape)
        image[problem.mask] = sequence(maps[problem.mask]).float()
        affine = axis_last(image.numpy(), problem.affine, problem.axis)[1]
        fixed = Scan(given.maps.path, image.numpy(), affine, given.maps.header)
        found.append(align_guide(Path(path), fixed, rigid=config.align == "rigid"))
    return found


def _image(guide: Guide, problem: Problem) -> torch.Tensor:
    """A guide on the thin voxels, ``(p, q, n)``.

    Raises:
        InputError: where it does not cover the head.
    """
    affine = axis_last(np.empty(problem.mask.shape), problem.affine, problem.axis)[1]
    values = guide.intensities_on(problem.mask.shape, affine)
    seen = np.isfinite(values) & (values > 0)
    share = float(seen[problem.mask.numpy()].mean())
    if share < LEAST_SEEN:
        raise InputError(
            f"{guide.path.name} shows {100 * share:.0f} % of the head of the maps; a guide of the same head shows at "
            f"least {100 * LEAST_SEEN:.0f} %."
        )
    return torch.from_numpy(np.where(seen, values, 0.0).astype(np.float64))


def _protocols(images: Many[str], kinds: Many[Any], key: str, sequences: str) -> list[Sequence]:
    """The sequence of each image, with the kind that is said of it, if any.

    Raises:
        InputError: for a list of kinds of another length, and as :func:`protocol_of`.
    """
    if kinds and len(kinds) != len(images):
        raise InputError(f"{sequences}= has {len(kinds)} values for {len(images)} {key}; give one for each, or null.")
    said = [None if kind is None else str(kind) for kind in kinds] or [None] * len(images)
    return [protocol_of(Path(path), kind) for path, kind in zip(images, said, strict=True)]


def _json(path: Path) -> dict[str, Any]:
    """The content of a sidecar.

    Raises:
        InputError: where it is missing or none.
    """
    try:
        return read_sidecar(path)
    except (OSError, ValueError, json.JSONDecodeError) as error:
        raise InputError(f"{path} could not be read ({error}); an image needs the JSON of its protocol.") from error
