"""What is written of maps: files, a picture, and numbers that are those of the maps."""

import nibabel as nib
import numpy as np
import pytest
import torch

import focvs
from focvs.reconstruction.quantitative import REFERENCE, Problem, Sharpened
from focvs.report.map_report import describe_maps, write_maps
from focvs.scan.maps import Maps
from focvs.signal.sequences import SpinEcho

SHAPE = (10, 12, 20)


@pytest.fixture
def found():
    """Maps of a block that reproduce what was measured, coronal slices of a file whose second axis they are."""
    operator = focvs.operator(slices=4, spacing_mm=6, thickness_mm=5, voxel_mm=1.2)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[2:8, 2:10] = True
    maps = torch.zeros(*SHAPE, 3, dtype=torch.float64)
    maps[mask] = torch.tensor([0.8, 1.2, 0.08], dtype=torch.float64)
    signals = torch.zeros(3, *SHAPE, dtype=torch.float64)
    signals[:, mask] = REFERENCE(maps[mask]).T
    affine = np.diag([1.2, 1.2, 1.2, 1.0])
    problem = Problem(operator(signals), operator, signals, 0.1 * signals, mask, affine, 1, (1.2, 1.2, 1.2))
    thick = Maps(
        np.moveaxis(np.ones((10, 12, 4, 3)), 2, 1), np.diag([1.2, 6.0, 1.2, 1.0]), nib.Nifti1Header(), ("odd.",)
    )
    return Sharpened(maps, 0.1 * maps, signals, [2 * torch.ones(SHAPE, dtype=torch.float64)]), problem, thick


def test_images_have_the_axes_of_the_files(found, tmp_path):
    sharpened, problem, maps = found
    paths = write_maps(sharpened, problem, maps, {"later": SpinEcho(4.0, 0.12)}, tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in paths.values()}
    t1 = nib.load(paths["T1map"])
    assert t1.shape == (10, 20, 12) and float(t1.dataobj[5, 10, 5]) == pytest.approx(1.2)
    later = float(nib.load(paths["synthesised-later"]).dataobj[5, 10, 5])
    assert later == pytest.approx(float(SpinEcho(4.0, 0.12)(torch.tensor([0.8, 1.2, 0.08]))), rel=1e-4)
    assert paths["figure"].stat().st_size > 1000


def test_numbers_are_those_of_the_maps(found):
    sharpened, problem, maps = found
    said = describe_maps(sharpened, problem, maps, ["t2w.nii.gz"], True, 1.23)
    assert said["residual"]["signals"] < 1e-9 and said["warnings"] == ["odd."]
    assert said["guides"] == [{"file": "t2w.nii.gz", "gain": [2.0, 2.0, 2.0]}]
    assert said["acquisition"]["slices"] == 4 and said["seconds"] == 1.2
    wrong = Sharpened(1.1 * sharpened.maps, sharpened.deviation, sharpened.signals, sharpened.gains)
    said = describe_maps(wrong, problem, maps, ["t2w.nii.gz"], True, 1.23)
    assert said["residual"]["signals"] > 0.02 and "from those that were given" in said["warnings"][1]
