"""Any geometry and header goes to a file and back: places, form codes and values stay."""

import nibabel as nib
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from focvs.scan.nifti import axis_back, axis_last, read_nifti, write_nifti

ANGLES = st.tuples(*[st.floats(-180, 180)] * 3)
SIZES = st.tuples(*[st.floats(0.3, 8.0)] * 3)


def placed(angles, sizes, mirrored, origin):
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_euler("xyz", angles, degrees=True).as_matrix() * np.array(sizes)
    affine[:3, 0] *= -1 if mirrored else 1
    affine[:3, 3] = origin
    return affine


@settings(max_examples=40, deadline=None)
@given(ANGLES, SIZES, st.booleans(), st.tuples(*[st.floats(-200, 200)] * 3), st.integers(0, 4), st.integers(0, 4))
def test_a_volume_comes_back_where_it_was(tmp_path_factory, angles, sizes, mirrored, origin, qform, sform):
    affine = placed(angles, sizes, mirrored, origin)
    like = nib.Nifti1Header()
    like.set_xyzt_units("mm")
    like["qform_code"], like["sform_code"] = qform, sform
    data = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    path = tmp_path_factory.mktemp("nifti") / "a.nii"
    write_nifti(path, data, affine, like)
    header = nib.load(path).header
    assert (int(header["qform_code"]), int(header["sform_code"])) == (qform, sform)
    assert np.allclose(header.get_sform(), affine, atol=1e-3)
    assert np.allclose(header.get_qform(), affine, atol=1e-2)
    if (qform or sform) and max(np.array(sizes) * data.shape) > 5:  # smaller ones are no head
        again, place, _, _ = read_nifti(path)
        assert np.array_equal(again, data) and np.allclose(place, affine, atol=1e-2)


@given(ANGLES, SIZES, st.integers(0, 2))
def test_the_order_of_axes_is_undone(angles, sizes, axis):
    affine = placed(angles, sizes, False, (1.0, 2.0, 3.0))
    data = np.arange(24).reshape(2, 3, 4)
    moved, place = axis_last(data, affine, axis)
    index = np.array([1, 2, 3, 1.0])
    turned = np.append(np.append(np.delete(index[:3], axis), index[axis]), 1.0)
    assert np.allclose(place @ turned, affine @ index)
    assert moved[tuple(turned[:3].astype(int) % moved.shape)] == data[tuple(index[:3].astype(int) % data.shape)]
    back, again = axis_back(moved, place, axis)
    assert np.array_equal(back, data) and np.array_equal(again, affine)
