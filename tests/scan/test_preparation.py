import numpy as np
import pytest

from focvs.errors import InputError
from focvs.scan.preparation import prepare_scan
from focvs.scan.scan import read_scan
from scans import write_scan


def test_missing_slices_are_filled_after_their_neighbours_were_made_even(tmp_path, field_scan):
    scan = read_scan(field_scan)
    data = scan.data.copy()
    data[..., ::2] *= 1.2
    data[..., 11] = 0
    found = prepare_scan(write_scan(tmp_path / "uneven.nii.gz", data, scan.affine), None)
    assert found.gains is not None and found.missing == (11,)
    assert np.allclose(found.data[..., 11], (found.data[..., 10] + found.data[..., 12]) / 2, atol=1e-2)


def test_steps_follow_each_other(tmp_path, thick_scan):
    scan = read_scan(thick_scan)
    data = scan.data - 1000
    data[..., 5] = -1000
    data[..., ::2] = -1000 + 1.1 * (data[..., ::2] + 1000)  # which would be divided out of a magnitude image
    found = prepare_scan(write_scan(tmp_path / "ct.nii.gz", data, scan.affine), None)
    assert found.background == pytest.approx(-1000, abs=30) and found.missing == (5,) and found.gains is None
    plain = write_scan(tmp_path / "mr.nii.gz", np.maximum(data + 1000, 0), scan.affine)
    assert prepare_scan(plain, None, exclude=[3]).missing == (3, 5)
    with pytest.raises(InputError, match="slice_gains=maybe"):
        prepare_scan(plain, None, "maybe")
    with pytest.raises(InputError, match="choose from a folder of DICOM files"):
        prepare_scan(plain, None, series="3")
