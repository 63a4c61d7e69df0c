"""A function of millimetres in a DICOM series of a tilted gantry is found where it is."""

import numpy as np
import pytest

from blobs import blob, worst_within
from dicom_files import PIXEL, SPACING, write_series
from focvs.scan.dicom import open_scan
from focvs.scan.scan import read_scan


@pytest.mark.parametrize("tags", [{}, {"GantryDetectorTilt": 14.0}])
def test_a_tilted_series_is_straightened_by_its_own_headers(tmp_path, tags):
    lean, shape = 1.5, (60, 56, 12)
    k, row, column = np.meshgrid(np.arange(12), np.arange(60), np.arange(56), indexing="ij")
    lps = np.stack([-30.0 + PIXEL * column, -40.0 + lean * k + PIXEL * row, -33.0 + SPACING * k], -1)
    slices = blob(lps * (-1, -1, 1)).transpose(1, 2, 0)
    folder = write_series(tmp_path / "series", np.rint(slices).astype(np.uint16), lean=lean, **tags)
    assert slices.shape == shape
    scan = open_scan(folder, tmp_path / "out")
    assert scan.spacing_mm == pytest.approx(SPACING) and "leans by 14.0 degrees" in " ".join(scan.warnings)
    seen = np.diag([-PIXEL, -PIXEL, SPACING, 1.0])
    seen[1, 2] = -lean
    seen[:3, 3] = [30, 40, -33]
    assert worst_within(scan.data, scan.affine, (56, 60, 12), seen) < 0.01 * 800
    again = read_scan(scan.path)  # the converted file says it too
    np.testing.assert_allclose(again.affine, scan.affine, atol=1e-4)
    np.testing.assert_array_equal(again.data, scan.data)
