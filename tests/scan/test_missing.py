from dataclasses import replace

import numpy as np
import pytest

from focvs.errors import InputError
from focvs.scan.missing import find_missing
from focvs.scan.scan import read_scan


def emptied(scan, *slices):
    data = scan.data.copy()
    data[..., list(slices)] = 0
    return replace(scan, data=data)


def test_empty_slices_inside_are_missing_and_filled_from_their_neighbours(thick_scan):
    scan = read_scan(thick_scan)
    found = find_missing(emptied(scan, 4, 5, 8))
    assert found.missing == (4, 5, 8)
    assert np.allclose(found.data[..., 4], (2 * scan.data[..., 3] + scan.data[..., 6]) / 3, atol=1e-2)
    assert np.allclose(found.data[..., 8], (scan.data[..., 7] + scan.data[..., 9]) / 2, atol=1e-2)
    assert np.array_equal(found.data[..., 3], scan.data[..., 3])
    assert "slices 4, 5, 8 (from 0) are empty inside the head" in found.warnings[-1]


def test_a_slice_that_lost_most_of_the_head_is_missing_and_a_speck_makes_none(thick_scan):
    scan = read_scan(thick_scan)
    data = scan.data.copy()
    data[1:, :, 6] = data.min()  # all but a border, as NaN is read
    assert find_missing(replace(scan, data=data)).missing == (6,)
    data = scan.data.copy()
    data[..., 8:] = 0
    data[20, 20, 11] = data.max()  # above the brain there is nothing but this
    assert find_missing(replace(scan, data=data)).missing == ()
    ramp = replace(scan, data=np.broadcast_to(np.arange(12, dtype=np.float32), scan.data.shape))
    with pytest.raises(InputError, match="same everywhere within each slice"):
        find_missing(ramp)


def test_empty_slices_at_the_ends_are_measured(thick_scan):
    scan = emptied(read_scan(thick_scan), 0, 1, 11)
    assert find_missing(scan) is scan


def test_slices_can_be_left_out_at_the_ends_too(thick_scan):
    scan = read_scan(thick_scan)
    found = find_missing(scan, [0, 6])
    assert found.missing == (0, 6) and np.array_equal(found.data[..., 0], scan.data[..., 1])
    assert "slices 0, 6 (from 0) are left out" in found.warnings[-1]
    with pytest.raises(InputError, match=r"exclude=12: .* has the slices 0 to 11"):
        find_missing(scan, [12])
    with pytest.raises(InputError, match="two thirds must be measured"):
        find_missing(emptied(scan, 2, 3, 5, 7, 9))
