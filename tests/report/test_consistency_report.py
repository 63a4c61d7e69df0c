from dataclasses import replace

import numpy as np
import pytest
import torch

from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.restoration import NO_SAMPLES, Restoration
from focvs.report.consistency_report import measure_consistency
from focvs.scan.missing import find_missing
from focvs.scan.scan import read_scan
from runs import settings


def test_what_is_measured_is_the_difference_and_missing_slices_do_not_count(tmp_path, thick_scan, tiny_prior):
    config = settings(thick_scan, tmp_path, tiny_prior, "thickness=5")
    scan = find_missing(read_scan(thick_scan), [4])
    operator = model_acquisition(scan, config).written
    volume = operator.replace(
        torch.zeros(*scan.data.shape[:2], operator.matrix.shape[1]).double(), torch.from_numpy(scan.data).double()
    )
    restoration = Restoration(volume.numpy(), NO_SAMPLES, "ddnm", True, 2.0, None, ())
    found = measure_consistency(scan, model_acquisition(scan, config), restoration, volume)
    assert found.relative_residual < 1e-6 and found.lowest == pytest.approx(float(volume.min()))
    assert found.below_floor == pytest.approx(float((volume < 0).double().mean()), abs=1e-6)
    off = measure_consistency(scan, model_acquisition(scan, config), restoration, volume + 3)
    assert off.max_abs_residual == pytest.approx(3, rel=1e-3)
    assert off.chi2 == pytest.approx(9 / 4 * 11 / 12, rel=1e-3)  # of twelve slices one was not measured
    lower = replace(scan, data=scan.data - np.float32(50))  # its own lowest is the floor then
    below = measure_consistency(lower, model_acquisition(scan, config), restoration, volume - 50).below_floor
    assert below == pytest.approx(float((volume - 50 < float(lower.data.min())).double().mean()), abs=1e-6)
