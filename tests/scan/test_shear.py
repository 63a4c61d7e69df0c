"""Stacks that lean: a function of millimetres, sampled on a sheared grid, is found where it is."""

import nibabel as nib
import numpy as np
import pytest

from blobs import blob, places, worst_within
from focvs.errors import InputError
from focvs.scan.scan import read_scan
from focvs.scan.shear import lean_deg, skew_deg, straighten

SHAPE = (40, 44, 13)


def leaning(degrees, oblique=False):
    affine = np.diag([-1.5, 1.5, 5.0, 1.0])
    affine[:2, 2] = 5 * np.tan(np.deg2rad(degrees)) * np.array([0.6, 0.8])
    if oblique:
        turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
        affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    return affine


@pytest.mark.parametrize("oblique", [False, True])
@pytest.mark.parametrize("degrees", [2.0, -20.0, 40.0])
def test_what_is_straightened_lies_where_it_was(degrees, oblique):
    affine = leaning(degrees, oblique)
    data = blob(places(SHAPE, affine)).astype(np.float32)
    straight, placed, said = straighten(data, affine, "scan")
    assert lean_deg(affine) == pytest.approx(abs(degrees)) and lean_deg(placed) == pytest.approx(0, abs=1e-4)
    assert f"leans by {abs(degrees):.1f} degrees" in said[0]
    assert np.linalg.norm(placed[:3, 2]) == pytest.approx(5)
    assert worst_within(straight, placed, SHAPE, affine) < 0.015 * 800
    middle = [(n - 1) / 2 for n in SHAPE]
    assert nib.affines.apply_affine(np.linalg.inv(placed), nib.affines.apply_affine(affine, middle))[
        2
    ] == pytest.approx(middle[2])


def test_a_shift_by_whole_pixels_loses_nothing():
    affine = np.diag([1.0, 1.0, 5.0, 1.0])
    affine[0, 2] = 2.0
    data = np.random.default_rng(0).uniform(1, 2, (20, 24, 7)).astype(np.float32)
    straight, placed, _ = straighten(data, affine, "scan")
    assert straight.shape == (20 + 2 * 6, 24, 7)
    for k in range(7):
        np.testing.assert_allclose(straight[2 * k : 2 * k + 20, :, k], data[..., k], atol=1e-5)
    assert placed[:3, 3] == pytest.approx([0, 0, 0]) and placed[0, 2] == 0


def test_a_straight_stack_is_left_alone_and_a_flat_one_refused():
    data = np.ones((4, 5, 6), np.float32)
    same, affine, said = straighten(data, leaning(0.9), "scan")
    assert same is data and not said and (affine == leaning(0.9)).all()
    with pytest.raises(InputError, match=r"leans by 50\.0 degrees"):
        straighten(data, leaning(50), "scan")


def test_slices_that_lie_beside_each_other_are_refused():
    affine = leaning(40)
    affine[:3, :2] /= 1000
    with pytest.raises(InputError, match="lie beside each other"):
        straighten(np.ones(SHAPE, np.float32), affine, "scan")


def test_skew_within_slices_is_said(tmp_path):
    affine = leaning(0)
    affine[0, 1] = 0.2
    assert skew_deg(affine) == pytest.approx(np.degrees(np.arctan(0.2 / 1.5)))
    image = nib.Nifti1Image(blob(places(SHAPE, affine)).astype(np.float32), None)
    image.set_sform(affine, 1)
    nib.save(image, tmp_path / "scan.nii.gz")
    assert "rows and columns stand 82.4 degrees apart" in " ".join(read_scan(tmp_path / "scan.nii.gz").warnings)
