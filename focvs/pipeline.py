"""The one road from file to file: read, model the acquisition, sample, replace, write, verify."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from focvs.config import RunConfig
from focvs.files import require_writable
from focvs.reconstruction.baselines import restore_without_prior
from focvs.reconstruction.bounds import with_bounds
from focvs.reconstruction.checks import check_options
from focvs.reconstruction.forward_model import Acquisition, model_acquisition, slice_spacing
from focvs.reconstruction.reconciliation import Reconciliation
from focvs.reconstruction.refine import restore_coarsely
from focvs.reconstruction.restore import restore
from focvs.reconstruction.rules import carried_over, choose_rule, takes_bias_off
from focvs.reconstruction.setup import (
    choose_device,
    open_prior,
)
from focvs.reconstruction.stacks import open_stacks
from focvs.reconstruction.timing import Stopwatch
from focvs.report.results import describe_run, write_images, write_sidecar
from focvs.scan.brightness import balance_slices
from focvs.scan.dicom import open_scan
from focvs.scan.nifti import read_nifti
from focvs.scan.pixels import PixelGrid, coarsen, resolved_mm
from focvs.scan.rician import unbias
from focvs.scan.scan import Scan
from focvs.scan.slices import Slices, prior_units, take_slices
from focvs.scan.units import intensity_scale

log = logging.getLogger(__name__)


def super_resolve(config: RunConfig) -> dict[str, Path]:
    """Restore one volume from a scan, or from several stacks of a head, and write every result.

    Returns:
        Paths by name: ``mean``, ``figure``, ``json``; of FOCVS also ``std``, ``nullstd``, of several samples ``q05``
        and ``q95``, and where asked for ``sample-01`` ...

    Raises:
        InputError: for anything wrong with the scan, an option or the output folder; nothing is written then.
        PriorError: if the prior cannot be loaded.
    """
    clock = Stopwatch()
    with clock.lap("total"):
        check_options(config)
        folder = Path(config.output_dir or Path(config.scan).parent)
        scan = balance_slices(open_scan(Path(config.scan), folder if config.output_dir else None), config.slice_gains)
        device = choose_device(config.device) if config.method == "focvs" else "cpu"
        prior = open_prior(config.prior, device) if config.method == "focvs" else None
        known_mm = None if prior is None else prior.voxel_range_mm
        pixels = PixelGrid.for_range(scan, slice_spacing(scan, config.spacing), known_mm)
        working = coarsen(scan, pixels)
        acquisition = model_acquisition(scan, config, min(working.in_plane_mm))
        require_writable(folder)
        log.info("%s: slices along %s, %r", scan.path.name, scan.slice_direction(), acquisition.written)
        log.info("%s", acquisition.thickness.table(acquisition.grid.spacing_mm))
        with clock.lap("alignment"):
            stacks = open_stacks(config, working, acquisition)
        slices, read = take_slices(scan, config), scan
        if prior is None:
            with clock.lap("sampling"):
                restoration = restore_without_prior(scan, slices, acquisition, config)
        else:
            scan, slices = without_bias(read, slices, acquisition, config)
            known = (prior, config, device, clock, stacks)
            if pixels.trivial:
                restoration = restore(scan, slices, acquisition, *known)
            else:
                restoration = restore_coarsely(scan, slices, pixels, acquisition, *known)
        restoration = with_bounds(restoration, read, acquisition)
        paths = write_images(scan, acquisition, restoration.images, restoration.samples, config, folder)
    if prior is not None and restoration.exact and restoration.rule != "ddnm":  # whose every step carries it over
        restoration.warnings.extend(carried_over(restoration.noise_sigma / intensity_scale(scan.data)))
    for warning in restoration.warnings:
        log.warning("%s: %s", scan.path.name, warning)
    report = describe_run(scan, acquisition, restoration, prior, config, device, clock.seconds, paths["mean"])
    report["acquisition"] |= {
        "in_plane_mm": scan.in_plane_mm,
        "resolved_mm": resolved_mm(read),
        "worked_mm": working.in_plane_mm,
        "rician_bias_removed": scan is not read,
    }
    if stacks:
        volume = torch.from_numpy(np.moveaxis(read_nifti(paths["mean"])[0], scan.axis, -1).copy())
        report["stacks"] = Reconciliation(stacks, working, acquisition).describe(pixels.average(volume))
        for entry in report["stacks"]:
            log.info("%s: relative residual %.1e root mean square", entry["scan"], entry["relative_rms_residual"])
    paths["json"] = write_sidecar(scan, report, folder)
    residual = report["consistency"]["relative_residual"]
    log.info("wrote %s, relative residual %.1e, %.0f s", paths["mean"], residual, clock.seconds["total"])
    return paths


def without_bias(scan: Scan, slices: Slices, acquisition: Acquisition, config: RunConfig) -> tuple[Scan, Slices]:
    """A noisy scan that is not to be reproduced exactly, and its slices, less the bias of their magnitudes."""
    condition = acquisition.written.condition_number
    _, exact, _ = choose_rule(config, condition, slices.noise_sigma, len(config.stacks))
    if not takes_bias_off(config, exact, slices.noise_sigma):
        return scan, slices
    scan = unbias(scan, slices.noise_sigma * slices.scale / 2)
    return scan, replace(slices, y=prior_units(scan, slices.region, slices.scale))
