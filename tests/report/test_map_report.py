"""What is written of maps: files, a picture, and numbers that are those of the maps."""

from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from focvs.acquisition.truncation import KSpaceTruncation
from focvs.config import QmriConfig
from focvs.reconstruction.quantitative import Sharpened
from focvs.reconstruction.signal_domain import domain_of_maps
from focvs.report.map_report import Given, describe_maps, write_maps
from focvs.scan.maps import Volumes
from focvs.signal.sequences import SpinEcho
from map_results import SHAPE, aligned, block


@pytest.fixture
def found():
    return block()


def test_images_have_the_axes_of_the_files(found, tmp_path):
    sharpened, problem, given = found
    paths = write_maps(sharpened, problem, given, {"later": SpinEcho(4.0, 0.12)}, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in paths.values()}
    t1 = nib.load(paths["T1map"])
    assert t1.shape == (10, 20, 12) and float(t1.dataobj[5, 10, 5]) == pytest.approx(1.2)
    later = float(nib.load(paths["synthesised-later"]).dataobj[5, 10, 5])
    assert later == pytest.approx(float(SpinEcho(4.0, 0.12)(torch.tensor([0.8, 1.2, 0.08]))), rel=1e-4)
    assert paths["figure"].stat().st_size > 1000


def test_numbers_are_those_of_the_maps(found):
    sharpened, problem, given = found
    said = describe_maps(sharpened, problem, given, [aligned()], QmriConfig(), 1.23)
    assert said["residual"]["signals"] < 1e-9 and said["warnings"] == ["odd."]
    (guide,) = said["guides"]
    assert guide["file"] == "t2w.nii.gz" and guide["gain"] == [2.0, 2.0, 2.0]
    assert guide["rotation_deg"] == 0 and np.abs(guide["translation_mm"]).tolist() == [0, 0, 2]
    # of one tissue partial volume is linear in maps as well
    assert said["residual"]["as_signals"] < 1e-9 and said["residual"]["as_maps"] < 1e-9
    assert said["maps"] == ["PDmap", "T1map", "T2map"] and said["samples"] == 0
    assert said["acquisition"]["slices"] == 4 and said["seconds"] == 1.2
    assert said["config"]["signal_quality"] == "default" and said["config"]["anchored"]
    wrong = Sharpened(1.1 * sharpened.maps, sharpened.deviation, sharpened.signals, sharpened.gains)
    said = describe_maps(wrong, problem, given, [aligned(("thick.",))], QmriConfig(), 1.23)
    assert said["residual"]["signals"] > 0.02 and said["residual"]["as_maps"] == pytest.approx(0.1, rel=0.05)
    assert said["warnings"][1] == "thick." and "from those that were given" in said["warnings"][2]


def test_only_maps_that_were_found_are_written(found, tmp_path):
    sharpened, problem, given = found
    t1 = Given(given.maps, (False, True, False))
    problem = replace(problem, domain=domain_of_maps(t1.found))
    paths = write_maps(sharpened, problem, t1, {}, tmp_path)
    assert {name for name in paths if name.startswith(("PD", "T"))} == {"T1map", "T1map-std"}
    assert describe_maps(sharpened, problem, t1, [aligned()], QmriConfig(anchored=False), 1.0)["maps"] == ["T1map"]


def test_a_truncation_is_told(found):
    sharpened, problem, given = found
    operator = KSpaceTruncation(SHAPE, (1, 2, 4))
    problem = replace(problem, operator=operator, measured=operator(sharpened.signals), axis=2)
    values = operator(sharpened.maps.movedim(-1, 0)).clamp(min=0).movedim(0, -1).numpy()
    coarse = Volumes(values, np.eye(4), nib.Nifti1Header(), Path("t1.nii.gz"))
    said = describe_maps(sharpened, problem, Given(coarse, given.found), [aligned()], QmriConfig(), 1.0)
    assert said["acquisition"] == {"truncation": [1, 2, 4], "voxel_mm": [1.2, 1.2, 1.2]}
