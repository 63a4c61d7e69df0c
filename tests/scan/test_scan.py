import gzip

import nibabel as nib
import numpy as np
import pytest

from focvs.errors import InputError
from focvs.scan.scan import read_scan
from focvs.scan.units import white_level
from scans import write_scan

AFFINE = np.diag([-1.0, 1.0, 5.0, 1.0])
GEOMETRY = ("isotropic", "two_thick", "frames", "flat", "few")
CONTENT = ("constant", "complex", "rgb")
FILES = ("missing", "truncated", "short", "text", "minc")


def noise(shape=(12, 14, 8), dtype=np.float32):
    return np.random.default_rng(0).uniform(1, 900, shape).astype(dtype)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_slice_axis_comes_last_whatever_the_order(tmp_path, axis):
    shape, voxel = [12, 14, 13], [1.0, 0.9, 1.1]
    shape[axis], voxel[axis] = 7, 5.0
    data = noise(tuple(shape))
    scan = read_scan(write_scan(tmp_path / "a.nii.gz", data, np.diag([*voxel, 1.0])))
    assert scan.file_axis == axis
    assert scan.spacing_mm == pytest.approx(5)
    assert np.array_equal(scan.data, np.moveaxis(data, axis, -1))
    expected = {0: ("coronal", "axial"), 1: ("sagittal", "axial"), 2: ("sagittal", "coronal")}[axis]
    assert scan.plane_names == expected
    assert scan.slice_direction == ("left-right", "posterior-anterior", "inferior-superior")[axis]


def bad_files(folder):
    cases = {"missing": (folder / "missing.nii.gz", "does not exist")}

    def add(name, words, data, affine=AFFINE):
        cases[name] = (write_scan(folder / f"{name}.nii.gz", data, affine), words)

    add("isotropic", "isotropic already", noise(), np.diag([1.0, 1.0, 1.1, 1.0]))
    add("two_thick", "two thick axes", noise(), np.diag([1.0, 4.0, 4.0, 1.0]))
    add("frames", "3-D volume", noise((6, 7, 8, 3)))
    add("flat", "3-D volume", noise((6, 7)))
    add("few", "at least 5", noise((12, 14, 4)))
    add("constant", "constant", np.full((12, 14, 8), 7.0, np.float32))
    add("complex", "complex", noise().astype(np.complex64))
    add("rgb", "RGB", np.zeros((6, 7, 8), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]))
    cut = write_scan(folder / "cut.nii.gz", noise((40, 40, 20)), AFFINE).read_bytes()
    (folder / "truncated.nii.gz").write_bytes(cut[: len(cut) // 2])
    cases["truncated"] = (folder / "truncated.nii.gz", "truncated")
    (folder / "short.nii").write_bytes(gzip.decompress(cut)[:2000])
    cases["short"] = (folder / "short.nii", "truncated")
    (folder / "text.nii.gz").write_bytes(b"hello")
    cases["text"] = (folder / "text.nii.gz", "could not be read")
    (folder / "other.mnc").write_bytes(b"CDF")
    cases["minc"] = (folder / "other.mnc", "MINC, not NIfTI")
    return cases


@pytest.mark.parametrize("name", GEOMETRY + CONTENT + FILES)
def test_bad_input_is_refused_in_one_sentence(tmp_path, name):
    path, words = bad_files(tmp_path)[name]
    with pytest.raises(InputError, match=words) as caught:
        read_scan(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def sheared(degrees):
    affine = AFFINE.copy()
    affine[1, 2] = affine[2, 2] * np.tan(np.deg2rad(degrees))
    return affine


def test_a_sheared_stack_is_straightened_and_its_angle_said(tmp_path):
    path = tmp_path / "sheared.nii.gz"
    image = nib.Nifti1Image(noise(), None)
    image.set_sform(sheared(31.2), 1)
    nib.save(image, path)
    scan = read_scan(path)
    assert scan.spacing_mm == pytest.approx(5.0, abs=1e-5) and "leans by 31.2 degrees" in " ".join(scan.warnings)


def test_planes_that_lean_a_little_are_as_far_apart_as_their_normal_says(tmp_path):
    path = tmp_path / "leaning.nii.gz"
    image = nib.Nifti1Image(noise(), None)
    image.set_sform(sheared(0.8), 1)
    nib.save(image, path)
    assert read_scan(path).spacing_mm == pytest.approx(5.0, abs=1e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_what_is_known_of_a_scan_follows_its_affine(tmp_path, axis):
    voxel = [0.9, 1.1, 5.0]
    order = [0, 1]
    order.insert(axis, 2)
    data, affine = np.moveaxis(noise(), -1, axis), np.diag([*voxel, 1.0])[:, [*order, 3]]
    scan = read_scan(write_scan(tmp_path / "a.nii.gz", data, affine))
    assert scan.in_plane_mm == pytest.approx((0.9, 1.1)) and scan.spacing_mm == pytest.approx(5.0)
    assert scan.orientation == "RAS" and scan.slice_direction == "inferior-superior"
    assert np.allclose(scan.affine, np.diag([*voxel, 1.0]))
    assert scan.units.white == pytest.approx(white_level(scan.data)) and scan.head.shape == scan.data.shape
