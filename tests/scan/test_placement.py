import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from focvs.errors import InputError
from focvs.scan.nifti import read_nifti, write_nifti
from focvs.scan.placement import place_voxels
from scans import write_scan

SHAPE = (60, 70, 14)
AFFINE = np.array([[-1.2, 0.0, 0.0, 30.0], [0.0, 1.1, 0.0, -40.0], [0.0, 0.0, 5.0, -20.0], [0, 0, 0, 1]])


def header(sform=1, qform=1, unit="mm", affine=AFFINE):
    image = nib.Nifti1Image(np.zeros(SHAPE, np.float32), None)
    image.header.set_xyzt_units(unit)
    image.header.set_qform(affine, qform)
    image.header.set_sform(affine, sform)
    image.header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    return image.header


@pytest.mark.parametrize(("sform", "qform"), [(1, 1), (1, 0), (0, 1), (4, 2)])
def test_a_good_header_is_taken_as_it_is(sform, qform):
    affine, warnings = place_voxels(header(sform, qform), SHAPE, "a")
    assert np.allclose(affine, AFFINE, atol=1e-5) and warnings == []


def test_a_quaternion_that_is_too_long_is_ignored_beside_a_good_sform():
    bad = header()
    bad["quatern_d"] = 1.000001
    bad["quatern_b"] = bad["quatern_c"] = 0
    affine, warnings = place_voxels(bad, SHAPE, "a")
    assert np.allclose(affine, AFFINE)
    assert len(warnings) == 1 and "its qform is broken" in warnings[0]


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_an_sform_without_volume_is_ignored_beside_a_good_qform(value):
    bad = header()
    for row in ("srow_x", "srow_y", "srow_z"):
        bad[row] = value
    affine, warnings = place_voxels(bad, SHAPE, "a")
    assert np.allclose(affine, AFFINE, atol=1e-5)
    assert len(warnings) == 1 and "its sform is broken" in warnings[0]
    bad["qform_code"] = 0
    with pytest.raises(InputError, match="affine without volume"):
        place_voxels(bad, SHAPE, "a")


def test_without_forms_it_lies_where_itk_sees_it_and_so_does_the_result(tmp_path):
    data = np.random.default_rng(0).uniform(0, 1, SHAPE).astype(np.float32)
    path = write_scan(tmp_path / "a.nii.gz", data, AFFINE, 0, 0)
    _, affine, like, warnings = read_nifti(path)
    assert any("which side is left" in warning for warning in warnings)
    seen = sitk.ReadImage(str(path))
    for index in ([0, 0, 0], [59, 0, 3], [5, 69, 13]):
        left_back_up = seen.TransformIndexToPhysicalPoint(index)
        assert affine[:3] @ [*index, 1] == pytest.approx(np.array(left_back_up) * [-1, -1, 1], abs=1e-4)
    write_nifti(tmp_path / "b.nii.gz", data, affine, like)
    again = sitk.ReadImage(str(tmp_path / "b.nii.gz"))
    assert again.GetOrigin() == pytest.approx(seen.GetOrigin()) and again.GetDirection() == seen.GetDirection()
    empty = header(0, 0)
    empty["pixdim"][1:4] = 0
    with pytest.raises(InputError, match="without size"):
        place_voxels(empty, SHAPE, "a")


@pytest.mark.parametrize(
    ("unit", "scale", "spacing", "said"),
    [
        ("mm", 1, 5, None),
        ("unknown", 1, 5, None),
        ("meter", 1e-3, 5, None),  # right, in metres
        ("micron", 1e3, 5, None),
        ("meter", 1, 5, "unit was taken for mm"),  # 77 m
        ("micron", 1, 5, "unit was taken for mm"),  # 0.08 mm
    ],
)
def test_units_are_believed_where_a_head_fits(unit, scale, spacing, said):
    affine = AFFINE.copy()
    affine[:3] *= scale
    mended = header(unit=unit, affine=affine)
    placed, warnings = place_voxels(mended, SHAPE, "a")
    assert np.linalg.norm(placed[:3, 2]) == pytest.approx(spacing, rel=1e-5)
    assert [said in w for w in warnings] == ([True] if said else [])
    assert mended.get_xyzt_units()[0] == ("mm" if said or unit == "unknown" else unit)


@pytest.mark.parametrize(("unit", "scale"), [("mm", 1e-3), ("mm", 1e3), ("meter", 1e7), ("micron", 1e-7)])
def test_sizes_that_no_head_has_are_refused_with_the_unit(unit, scale):
    affine = AFFINE.copy()
    affine[:3] *= scale
    with pytest.raises(InputError, match=r"unit .*repair"):
        place_voxels(header(unit=unit, affine=affine), SHAPE, "a")


@pytest.mark.parametrize("scale", [0.2, 9.0])
def test_odd_but_possible_sizes_are_said(scale):
    affine = AFFINE.copy()
    affine[:3] *= scale
    assert "a head is 50 to 600 mm" in place_voxels(header(affine=affine), SHAPE, "a")[1][0]


def test_unknown_units_and_sizes_that_disagree_are_said():
    odd = header()
    odd["xyzt_units"] = 7
    assert "means nothing" in place_voxels(odd, SHAPE, "a")[1][0]
    odd = header()
    odd["pixdim"][3], odd["qform_code"] = 6, 0  # of which it is a part
    affine, warnings = place_voxels(odd, SHAPE, "a")
    assert np.allclose(affine, AFFINE) and "pixdim says voxels of 1.2 x 1.1 x 6 mm" in warnings[0]
