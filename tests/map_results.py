"""Sharpened maps without networks: a block of one tissue whose maps reproduce what was measured."""

from pathlib import Path

import nibabel as nib
import numpy as np
import torch

import focvs
from focvs.config import QmriConfig
from focvs.reconstruction.guide import Guide
from focvs.reconstruction.quantitative import Problem, Sharpened
from focvs.reconstruction.signal_domain import REFERENCE
from focvs.report.map_page import FinishedMaps
from focvs.report.map_report import Given, describe_maps, write_maps
from focvs.scan.maps import Volumes
from focvs.signal.sequences import SpinEcho

SHAPE = (10, 12, 20)


def block():
    """Maps of a block that reproduce what was measured, coronal slices of a file whose second axis they are."""
    operator = focvs.operator(slices=4, spacing_mm=6, thickness_mm=5, voxel_mm=1.2)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[2:8, 2:10] = True
    maps = torch.zeros(*SHAPE, 3, dtype=torch.float64)
    maps[mask] = torch.tensor([0.8, 1.2, 0.08], dtype=torch.float64)
    signals = torch.zeros(3, *SHAPE, dtype=torch.float64)
    signals[:, mask] = REFERENCE(maps[mask]).T
    affine = np.diag([1.2, 1.2, 1.2, 1.0])
    problem = Problem(
        operator(signals), operator, signals, 0.1 * signals, mask, voxel_mm=(1.2, 1.2, 1.2), affine=affine, axis=1
    )
    values = np.moveaxis(operator(maps.movedim(-1, 0)).movedim(0, -1).numpy(), 2, 1)
    thick = Volumes(values, np.diag([1.2, 6.0, 1.2, 1.0]), nib.Nifti1Header(), Path("t1.nii.gz"), ("odd.",))
    given = Given(thick, (True, True, True))
    return Sharpened(maps, 0.1 * maps, signals, [2 * torch.ones(SHAPE, dtype=torch.float64)]), problem, given


def aligned(warnings=()):
    """A guide that was moved by 2 mm."""
    moved = np.eye(4)
    moved[2, 3] = 2.0
    return Guide(Path("t2w.nii.gz"), np.ones((4, 4, 4), np.float32), np.eye(4), moved, warnings=warnings)


GIVEN = {"density": "a/pd.nii.gz", "t1": "a/t1<.nii.gz", "t2": "a/t2.nii.gz"}


def finished(folder, config=None, found=(True, True, True)):
    """What a run leaves in a folder, without its page."""
    sharpened, problem, given = block()
    given = Given(given.maps, found)
    paths = write_maps(sharpened, problem, given, {"FLAIR": SpinEcho(9.0, 0.1)}, folder)
    report = describe_maps(sharpened, problem, given, [aligned()], config or QmriConfig(**GIVEN), 61.4)
    return FinishedMaps(sharpened, problem, given, report, paths)
