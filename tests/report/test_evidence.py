"""Residuals are those of the slices, and drawn beside what was known of them."""

import numpy as np
import torch

from focvs.reconstruction.forward_model import model_acquisition
from focvs.report.evidence import draw_evidence, slice_residuals
from focvs.scan.scan import read_scan
from runs import settings


def test_residuals_of_an_exact_volume_vanish_and_others_are_shown(thick_scan):
    scan = read_scan(thick_scan)
    acquisition = model_acquisition(scan, settings(thick_scan, None, "unused", "thickness=5"))
    volume = acquisition.written.pseudo_inverse(torch.from_numpy(scan.data).double())
    exact = slice_residuals(volume, scan, acquisition)
    assert exact.shape == scan.data.shape and np.abs(exact).max() < 1e-6
    off = slice_residuals(volume - 0.1 * scan.units.white, scan, acquisition)
    np.testing.assert_allclose(off, 0.1, atol=1e-5)
    figure = draw_evidence(scan, acquisition, off)
    titles = [axis.get_title() for axis in figure.axes]
    assert any("brightness" in title for title in titles) and any("in the head" in title for title in titles)
    heights = figure.axes[2].lines[0].get_ydata()
    np.testing.assert_allclose(heights, 0.1, atol=1e-5)
