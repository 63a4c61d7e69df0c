from dataclasses import replace

import numpy as np
import pytest

from focvs.errors import InputError
from focvs.scan.background import without_background
from focvs.scan.scan import read_scan


def shifted(scan, level):
    return replace(scan, data=scan.data + np.float32(level))


@pytest.mark.parametrize("level", [-1000.0, -50.0, 1500.0])
def test_a_level_is_found_taken_off_and_said(thick_scan, level):
    scan = read_scan(thick_scan)
    found = without_background(shifted(scan, level))
    assert found.background == pytest.approx(level, abs=0.03 * float(np.ptp(scan.data)))
    assert np.allclose(found.data + found.background, scan.data + level, atol=1e-2)
    assert "its background lies at" in found.warnings[-1]


def test_a_magnitude_image_has_none(thick_scan):
    scan = read_scan(thick_scan)
    assert without_background(scan) is scan
    # tissue at the edges of the image: something of it is near zero
    cut = replace(scan, data=scan.data[16:40, 20:44])
    assert without_background(cut) is cut
    flat = replace(scan, data=np.zeros_like(scan.data))
    assert without_background(flat) is flat


def test_what_was_standardised_within_a_mask_is_refused(thick_scan):
    scan = read_scan(thick_scan)
    inside = scan.data > 300
    values = (scan.data - scan.data[inside].mean()) / scan.data[inside].std()
    with pytest.raises(InputError, match="standardised within a mask"):
        without_background(replace(scan, data=np.where(inside, values, 0).astype(np.float32)))
