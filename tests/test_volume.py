import gzip
import os
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
from conftest import write_scan

from focvs.errors import InputError
from focvs.files import write_atomically, write_json
from focvs.scan.head import head_mask
from focvs.scan.nifti import read_nifti, write_nifti
from focvs.scan.scan import read_scan
from focvs.scan.units import white_level

AFFINE = np.diag([-1.0, 1.0, 5.0, 1.0])


def noise(shape=(12, 14, 8), dtype=np.float32):
    return np.random.default_rng(0).uniform(1, 900, shape).astype(dtype)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_slice_axis_comes_last_whatever_the_order(tmp_path, axis):
    shape, voxel = [12, 14, 13], [1.0, 0.9, 1.1]
    shape[axis], voxel[axis] = 7, 5.0
    data = noise(tuple(shape))
    scan = read_scan(write_scan(tmp_path / "a.nii.gz", data, np.diag([*voxel, 1.0])))
    assert scan.axis == axis
    assert scan.spacing_mm == pytest.approx(5)
    assert np.array_equal(scan.data, np.moveaxis(data, axis, -1))
    expected = {0: ("coronal", "axial"), 1: ("sagittal", "axial"), 2: ("sagittal", "coronal")}[axis]
    assert scan.plane_names == expected
    assert scan.slice_direction == ("left-right", "posterior-anterior", "inferior-superior")[axis]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_dtypes_and_slopes(tmp_path, dtype):
    path = tmp_path / "a.nii.gz"
    data = noise().astype(dtype)
    image = nib.Nifti1Image(data, AFFINE)
    image.header.set_slope_inter(*((0.5, 3.0) if np.issubdtype(dtype, np.integer) else (1, 0)))
    nib.save(image, path)
    assert np.allclose(read_scan(path).data, nib.load(path).get_fdata(), rtol=1e-6)


def test_one_frame_of_four_dimensions(tmp_path):
    data = noise()
    path = write_scan(tmp_path / "a.nii", data[..., None], AFFINE)
    assert np.array_equal(read_scan(path).data, data)


def test_nan_and_infinity_are_counted(tmp_path):
    data = noise()
    data[0, 0, 0], data[1, 1, 1] = np.nan, np.inf
    scan = read_scan(write_scan(tmp_path / "a.nii.gz", data, AFFINE))
    assert scan.data[0, 0, 0] == scan.data[1, 1, 1] == 0
    assert any("2 voxels" in w for w in scan.warnings)


def test_disagreeing_forms_are_reported_and_sform_used(tmp_path):
    image = nib.Nifti1Image(noise(), AFFINE)
    image.set_sform(AFFINE, 1)
    moved = AFFINE.copy()
    moved[0, 3] = 30
    image.set_qform(moved, 1)
    nib.save(image, tmp_path / "a.nii.gz")
    scan = read_scan(tmp_path / "a.nii.gz")
    assert np.allclose(scan.affine, AFFINE)
    assert any("sform" in w for w in scan.warnings)


def test_units_of_metres(tmp_path):
    image = nib.Nifti1Image(noise(), np.diag([-1e-3, 1e-3, 5e-3, 1.0]))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "a.nii.gz")
    scan = read_scan(tmp_path / "a.nii.gz")
    assert scan.spacing_mm == pytest.approx(5)
    write_nifti(tmp_path / "b.nii.gz", scan.data, scan.affine, scan.header)
    back = nib.load(tmp_path / "b.nii.gz")
    assert back.header.get_xyzt_units()[0] == "meter"
    assert np.allclose(back.affine, image.affine)


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
    nib.save(nib.MGHImage(noise(), AFFINE), folder / "other.mgz")
    cases["mgz"] = (folder / "other.mgz", "not NIfTI")
    return cases


GEOMETRY = ("isotropic", "two_thick", "frames", "flat", "few")
CONTENT = ("constant", "complex", "rgb")
FILES = ("missing", "truncated", "short", "text", "mgz")


@pytest.mark.parametrize("name", GEOMETRY + CONTENT + FILES)
def test_bad_input_is_refused_in_one_sentence(tmp_path, name):
    path, words = bad_files(tmp_path)[name]
    with pytest.raises(InputError, match=words) as caught:
        read_scan(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("qcode", "scode"), [(1, 1), (0, 2), (3, 0), (1, 4), (0, 0)])
def test_golden_headers(tmp_path, qcode, scode):
    """Form codes and units are those of the input, both forms are equal, float32 without a slope."""
    affine = AFFINE.copy()
    affine[:3, 3] = (10, -20, 30)
    like = nib.load(write_scan(tmp_path / "in.nii.gz", noise(dtype=np.int16), affine, qcode, scode)).header
    data = noise((12, 14, 40)) * 1.2345
    out_affine = np.array([[0.8, 0.1, 0, 3], [-0.1, 0.8, 0.05, 4], [0, -0.05, 1.1, 5], [0, 0, 0, 1]])
    out_affine[:3, :3] = np.linalg.qr(out_affine[:3, :3])[0] @ np.diag([0.8, 0.8, 1.1])
    write_nifti(tmp_path / "out.nii.gz", data, out_affine, like)
    image = nib.load(tmp_path / "out.nii.gz")
    header = image.header
    assert header.get_data_dtype() == np.float32
    assert np.array_equal(np.asarray(image.dataobj), data.astype(np.float32))
    assert np.isnan(header["scl_slope"]) or header["scl_slope"] in (0, 1)
    assert (int(header["qform_code"]), int(header["sform_code"])) == (qcode, scode)
    assert np.allclose(header.get_sform(), out_affine, atol=1e-5)
    assert np.allclose(header.get_qform(), out_affine, atol=1e-4)
    assert np.allclose(header.get_zooms(), (0.8, 0.8, 1.1), atol=1e-5)
    assert header.get_xyzt_units()[0] == "mm"


def test_unwritable_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        write_json(tmp_path / "file" / "x.json", {})


def test_a_killed_write_leaves_nothing_under_the_final_name(tmp_path):
    """kill -9 while a large volume is being compressed."""
    code = (
        "import numpy as np, nibabel as nib; from pathlib import Path; from focvs.scan.nifti import write_nifti;"
        "d = np.random.default_rng(0).random((160, 160, 160), dtype=np.float32); print('go', flush=True);"
        f"write_nifti(Path({str(tmp_path / 'x.nii.gz')!r}), d, np.eye(4), nib.Nifti1Header())"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    deadline = time.monotonic() + 30
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, 9)
    process.wait()
    process.stdout.close()
    names = [p.name for p in tmp_path.iterdir()]
    assert names
    assert all(n.startswith(".") for n in names)


def test_intensity_scale_ignores_air_and_needs_light():
    volume = np.zeros((20, 20, 20), np.float32)
    volume[5:15, 5:15, 5:15] = np.linspace(100, 200, 1000).reshape(10, 10, 10)
    assert white_level(volume) == pytest.approx(199.5, abs=0.5)
    with pytest.raises(InputError, match="positive"):
        white_level(-np.ones((4, 4, 4)))


def test_a_failed_write_leaves_nothing(tmp_path):
    def fail(temporary):
        temporary.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "x.json", ".json", fail)
    assert not list(tmp_path.iterdir())


def test_head_mask_fills_the_head_and_leaves_the_air(phantom):
    clean, noisy = phantom
    mask = head_mask(noisy, 1.0)
    assert mask[28, 32, 30]  # ventricle
    assert not mask[0, 0].any()
    assert mask[clean > 0.3].mean() > 0.99
    assert head_mask(np.zeros((4, 4, 4), np.float32), 1.0).all()


def test_read_nifti_refuses_an_affine_without_volume(tmp_path):
    image = nib.Nifti1Image(noise(), None)
    image.header["sform_code"] = 1
    nib.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="affine"):
        read_nifti(tmp_path / "a.nii.gz")
