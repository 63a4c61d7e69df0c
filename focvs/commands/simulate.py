"""focvs simulate: a thick-slice scan from a thin-slice volume, file to file."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np

from focvs.acquisition.grid import make_grid, plane_distance_mm
from focvs.acquisition.simulation import rician, simulate_slices
from focvs.config import SimulateConfig
from focvs.errors import InputError
from focvs.files import write_json
from focvs.reconstruction.thickness import load_profile, require_width
from focvs.scan.formats import image_stem
from focvs.scan.nifti import axis_along, axis_back, axis_last, read_volume, write_nifti
from focvs.scan.units import white_level

log = logging.getLogger(__name__)

DEFAULT_MM = 5.0


def simulate_scan(config: SimulateConfig) -> Path:
    """Degrade ``config.volume`` and write the scan with a JSON of its slice thickness beside it.

    Returns:
        The scan's path.

    Raises:
        InputError: for an unreadable volume, an unknown axis, slices that do not fit, or a profile of another width.
    """
    data, affine, header = read_volume(Path(config.volume))
    axis = axis_along(affine, config.axis)
    data, affine = axis_last(data, affine, axis)
    voxel_mm = plane_distance_mm(affine)
    thickness_mm = DEFAULT_MM if config.thickness is None else config.thickness
    spacing_mm = thickness_mm if config.spacing is None else config.spacing
    if not (spacing_mm > 0 and 0 < thickness_mm <= 4 * spacing_mm):
        raise InputError(
            f"thickness={thickness_mm:g} spacing={spacing_mm:g} mm: both must be above 0, thickness at most 4 spacings."
        )
    profile = load_profile(config.profile, thickness_mm)
    require_width(profile, config.thickness)
    if config.thickness is None and profile.kind == "sampled":
        thickness_mm = profile.fwhm_mm
        spacing_mm = thickness_mm if config.spacing is None else spacing_mm
    if config.noise < 0 or config.seed < 0:
        raise InputError(f"noise={config.noise:g} and seed={config.seed} must be at least 0.")
    try:
        slices = simulate_slices(data, voxel_mm, profile, spacing_mm)
    except ValueError as error:
        raise InputError(str(error)) from error
    if config.noise:
        rng = np.random.default_rng(config.seed)
        sigma = config.noise * white_level(data)
        if config.rician:
            slices = rician(slices, sigma, rng)
        else:
            slices = slices + rng.normal(0, sigma, slices.shape).astype(np.float32)
    # a scan is to its volume what a volume is to its scan: the same centre, another step
    grid = make_grid(data.shape[-1], voxel_mm, spacing_mm, keep_extent=False)
    grid = type(grid)(grid.slices, grid.spacing_mm, slices.shape[-1], spacing_mm)
    output = Path(config.output)
    if not output.name.endswith((".nii", ".nii.gz")):
        output = output / f"{image_stem(Path(config.volume))}_thick.nii.gz"
    write_nifti(output, *axis_back(slices, grid.affine(affine), axis), header)
    write_json(
        output.with_name(image_stem(output) + ".json"),
        {"SliceThickness": thickness_mm, "SpacingBetweenSlices": spacing_mm, "SliceProfile": profile.kind},
    )
    log.info("wrote %s: %d slices of %.4g mm every %.4g mm", output, slices.shape[-1], thickness_mm, spacing_mm)
    return output
