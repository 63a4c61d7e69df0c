"""Figures show what they are given, at true proportions, with their names."""

import numpy as np
import torch

from focvs.acquisition.estimation import ProfileEstimate
from focvs.acquisition.profile import gaussian_profile, rect_profile
from focvs.reconstruction.forward_model import model_acquisition
from focvs.report.figures import draw_comparison, draw_curves, draw_planes, draw_profile
from focvs.report.views import Tile
from focvs.scan.scan import read_scan
from runs import settings


def test_three_planes_of_everything_there_is(thick_scan):
    scan = read_scan(thick_scan)
    grid = model_acquisition(scan, settings(thick_scan, None, "unused", "thickness=5")).grid
    mean = np.repeat(scan.data, 5, axis=-1)
    alone, spread = (draw_planes(scan, grid, mean, std) for std in (None, 0.1 * mean))
    assert (len(alone.axes), len(spread.axes)) == (9, 12)
    titles = [axis.get_title() for axis in spread.axes[:4]]
    assert titles == ["scan", "B-spline", "FOCVS", "standard deviation"]
    shapes = [spread.axes[4 * row + 2].images[0].get_array().shape for row in range(3)]
    assert sorted(shapes) == sorted([(64, 56), (60, 56), (60, 64)])
    labels = [text.get_text() for text in spread.axes[0].texts + spread.axes[3].texts]
    assert {"L", "R", "10 mm"} <= set(labels) and any(text.startswith("axial, z = ") for text in labels)
    assert any(scan.path.name in text.get_text() for text in spread.texts)
    top = spread.axes[0].images[0].get_clim()[1]
    assert 0 < top < mean.max() and spread.axes[1].images[0].get_clim()[1] == top


def test_profiles_are_drawn_with_their_widths():
    frequency, power = torch.linspace(0, 0.2, 9), torch.linspace(2, 1, 9)
    made = {
        name: ProfileEstimate(make(4.0), 3.5, 4.5, frequency, power, power, 500)
        for name, make in (("gaussian", gaussian_profile), ("rect", rect_profile))
    }
    figure = draw_profile(made["gaussian"], made, 4.0)
    labels = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert labels == ["gaussian, 4.00 mm", "rect, 4.00 mm"]
    assert "3.50 to 4.50 mm" in figure.axes[1].get_title()


def test_a_line_for_each_method_with_its_interval():
    rows = [
        {"method": method, "thickness_mm": mm, "gap_mm": 0.0, "repeats": 3, "psnr_db": 30.0 - mm, "psnr_db_ci": 0.5}
        for method in ("spline", "focvs")
        for mm in (4.0, 6.0)
    ]
    figure = draw_curves(rows, {"psnr_db": "PSNR (dB)"})
    (axis,) = figure.axes
    assert axis.get_ylabel() == "PSNR (dB)"
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["spline", "focvs"]


def test_missing_cells_stay_empty():
    tile = Tile(np.ones((4, 5)), (2.0, 1.0), "LR")
    tiles = {("a", "truth"): tile, ("b", "truth"): tile, ("b", "ours"): Tile(np.zeros((4, 5)), (2.0, 1.0), "LR")}
    figure = draw_comparison(["a", "b"], ["truth", "ours"], tiles)
    assert [len(axis.images) for axis in figure.axes] == [1, 0, 1, 1]
    said = [text.get_text() for text in figure.axes[0].texts]
    assert said == ["a\nintensities 0 to 1", "L", "R", "10 mm"]
    assert figure.axes[0].get_aspect() == 2
