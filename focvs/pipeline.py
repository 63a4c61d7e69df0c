"""The one road from file to file: read, model the acquisition, sample, replace, write, verify."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path

import torch

from focvs import __version__
from focvs.config import parse_auto
from focvs.errors import InputError, is_out_of_memory
from focvs.files import remove_empty, remove_parts, require_reachable, require_writable
from focvs.hardware import usable_cores
from focvs.locks import locked
from focvs.parallel import one_thread_each
from focvs.reconstruction.bounds import measure_uncertainty
from focvs.reconstruction.case import Case
from focvs.reconstruction.checks import check_options, excluded, leave_out
from focvs.reconstruction.forward_model import model_acquisition, require_thickness, slice_spacing
from focvs.reconstruction.guide import open_guide
from focvs.reconstruction.refine import restore_coarsely
from focvs.reconstruction.restore import restore
from focvs.reconstruction.rules import carried_over, without_bias
from focvs.reconstruction.setup import choose_device, in_precision, open_prior, require_fit, restored_voxels
from focvs.reconstruction.stacks import open_stacks
from focvs.reconstruction.timing import Stopwatch
from focvs.reconstruction.voxels import left_below_zero
from focvs.report.ownership import require_own
from focvs.report.results import write_images
from focvs.report.run_report import Run, describe_run, write_report
from focvs.run_config import RunConfig
from focvs.scan.dicom import leaving_nothing
from focvs.scan.isotropic import IsotropicGrid
from focvs.scan.pixels import PixelGrid, coarsen
from focvs.scan.preparation import prepare_scan
from focvs.scan.slices import take_slices

log = logging.getLogger(__name__)


def super_resolve(config: RunConfig) -> dict[str, Path]:
    """Restore one volume from a scan, or from several stacks of a head, and write every result.

    Returns:
        Paths by name: ``mean``, ``figure``, ``json``, ``report``; where a deviation is known ``std``, ``nullstd``,
        ``q05`` and ``q95``; and where asked for ``sample-01`` ...

    Raises:
        InputError: for anything wrong with the scan, an option or the output folder, where memory runs out, or while
            another run writes the same results; nothing is written then.
        PriorError: if the prior cannot be loaded.
    """
    try:
        with leaving_nothing() as converted, ExitStack() as held:
            return _super_resolve(config, converted, held)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise InputError(
            f"{config.scan}: memory ran out; give voxel= a larger size, batch=1 and fewer samples, or use a machine "
            "with more memory."
        ) from error


def _super_resolve(config: RunConfig, converted: list[Path], held: ExitStack) -> dict[str, Path]:
    """:func:`super_resolve`; ``converted`` gets the files of a DICOM series in the output folder, ``held`` the lock."""
    clock = Stopwatch()
    torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))
    with clock.lap("total"):
        check_options(config)
        folder = Path(config.output_dir or Path(config.scan).parent)
        place = folder if config.output_dir else None  # gets the NIfTI of a DICOM series
        if place is None:
            log.info("no output folder was given: results go beside the scan, into %s", folder)
        numbers, left_out = excluded(config)
        acquired = prepare_scan(
            Path(config.scan), place, config.slice_gains, numbers, config.series, config.echo, config.overwrite
        )
        converted += acquired.converted
        config = leave_out(config, left_out)
        require_reachable(folder)  # and what else is refused in no time, before weights are loaded
        require_own(acquired, config.method, folder, config.overwrite)
        require_thickness(acquired, config)
        log.debug("focvs %s, torch %s, %s", __version__, torch.__version__, config)
        device = choose_device(config.device) if config.method == "focvs" else "cpu"
        prior, precision = None, None
        if config.method == "focvs":
            with clock.lap("prior"):
                prior = open_prior(config.prior, device)
                require_fit(prior, config)
                prior, precision = in_precision(prior, config, device, restored_voxels(acquired))
            log.info("networks compute in %s: %s", precision.name, precision.reason)
            if device == "cpu":
                held.enter_context(one_thread_each())
        known_mm = None if prior is None else prior.voxel_range_mm
        pixels = PixelGrid.for_range(acquired, slice_spacing(acquired, config.spacing), known_mm)
        acquisition = model_acquisition(acquired, config, min(pixels.pixels_mm(acquired)))
        if config.isotropic is not None:  # refused before minutes of work
            shape = (*acquired.data.shape[:2], acquisition.grid.voxels)
            IsotropicGrid.of(shape, acquisition.grid.affine(acquired.affine), config.isotropic)
        if not folder.exists():
            held.callback(remove_empty, folder)  # in the end, where what follows is refused
        require_writable(folder)
        stem = acquired.result(config.method)
        held.enter_context(locked(folder / f".{stem}.lock", f"{stem} in {folder}"))
        remove_parts(folder, stem)
        log.info("%s: slices along %s, %r", acquired.path.name, acquired.slice_direction, acquisition.written)
        log.info("%s", acquisition.thickness.table(acquisition.grid.spacing_mm))
        slices = take_slices(acquired, parse_auto("noise", config.noise))
        scan = acquired
        if prior is not None:
            scan, slices = without_bias(acquired, slices, acquisition, config)
        working = coarsen(scan, pixels)
        with clock.lap("alignment"):
            stacks = open_stacks(config, working, acquisition, converted)
            guide = open_guide(config, working, acquisition.grid.spacing_mm, converted)
        if prior is None:
            from focvs.reconstruction.baselines import restore_without_prior  # and with it two trainers

            with clock.lap("sampling"):
                restoration = restore_without_prior(scan, slices, acquisition, config, guide)
        else:
            assert precision is not None
            case = Case(
                scan, slices, acquisition, prior, device, stacks, guide, seconds_per_pixel=precision.seconds_per_pixel
            )
            if pixels.trivial:
                restoration = restore(case, config, clock)
            else:
                restoration = restore_coarsely(case, working, pixels, config, clock)
        uncertainty = measure_uncertainty(restoration, acquired, acquisition)
        paths, digests = write_images(scan, acquisition, restoration, uncertainty, config, folder)
    warnings = [*restoration.warnings, *(guide.warnings if guide else ())]
    if prior is not None and restoration.exact and restoration.rule != "ddnm":  # whose every step carries it over
        warnings += carried_over(restoration.noise_intensity / scan.units.white)
    if config.method == "focvs" and config.nonnegative is not False:
        warnings += left_below_zero(restoration.mean, scan)
    for warning in warnings:
        log.warning("%s: %s", scan.path.name, warning)
    run = Run(config, acquired, scan, working, pixels, acquisition, stacks, prior, device, precision, guide)
    report = describe_run(run, restoration, warnings, clock.seconds, paths["mean"], digests)
    for entry in report.stacks:
        log.info("%s: relative residual %.1e root mean square", entry.scan, entry.relative_rms_residual)
    paths["json"] = write_report(report, scan, folder)
    if config.report:
        from focvs.report.html_report import Finished, write_page  # and with it Jinja and matplotlib

        paths["report"] = write_page(Finished(run, restoration, uncertainty, report, paths), folder)
    log.info(
        "wrote %s, relative residual %.1e, %.0f s",
        paths["mean"],
        report.consistency.relative_residual,
        clock.seconds["total"],
    )
    return paths
