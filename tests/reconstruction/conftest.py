import pytest
import torch

from focvs.reconstruction.case import Case
from focvs.reconstruction.forward_model import model_acquisition
from focvs.scan.scan import read_scan
from focvs.scan.slices import take_slices
from runs import settings


@pytest.fixture(scope="module")
def baseline_head(phantom):
    """``(56, 64, 60)``, of order one."""
    return torch.from_numpy(phantom[1]).float()


@pytest.fixture
def posed(thick_scan, tmp_path):
    """A scan with everything a run knows of it before the prior, which is None, and its configuration."""
    config = settings(thick_scan, tmp_path / "out", "unused", "thickness=5", "prior.patch=[64,64,64]")
    scan = read_scan(thick_scan)
    acquisition = model_acquisition(scan, config)
    assert acquisition.grid.margin > 0
    return Case(scan, take_slices(scan), acquisition, None), config
