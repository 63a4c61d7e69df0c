from dataclasses import replace

import pytest
import torch

from focvs.priors.pretrained import load_prior
from focvs.reconstruction.case import Case
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.restore import restore
from focvs.scan.scan import read_scan
from focvs.scan.slices import take_slices
from runs import mean_prior, settings


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


@pytest.fixture
def told(posed, thick_scan, tmp_path):
    """Restores that scan by a small mean of two stages; fields of the prior can be changed."""
    case, _ = posed
    mean_prior(tmp_path / "mean")
    prior = load_prior(tmp_path / "mean")

    def run(*words, **changes):
        config = settings(thick_scan, None, tmp_path / "mean", "quality=default", "samples=0", "thickness=5", *words)
        config.steps = changes.pop("steps", None)
        return restore(replace(case, prior=replace(prior, **changes)), config)

    return run
