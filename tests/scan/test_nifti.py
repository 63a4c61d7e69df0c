import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest

from focvs.errors import InputError
from focvs.scan.nifti import read_nifti, write_nifti
from focvs.scan.scan import read_scan
from scans import write_scan

AFFINE = np.diag([-1.0, 1.0, 5.0, 1.0])


def noise(shape=(12, 14, 8), dtype=np.float32):
    return np.random.default_rng(0).uniform(1, 900, shape).astype(dtype)


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


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_whole_numbers_with_a_slope_keep_zero_and_the_window(tmp_path, suffix):
    like = nib.load(write_scan(tmp_path / "in.nii.gz", noise(), AFFINE)).header
    data = noise() - 300
    data[:3] = 0
    path = tmp_path / f"out{suffix}"
    write_nifti(path, data, AFFINE, like, "int16", (0.0, 555.0))
    image = nib.load(path)
    back = np.asarray(image.dataobj)
    assert image.get_data_dtype() == np.int16 and (back[:3] == 0).all()
    assert np.abs(back - data).max() <= 0.51 * np.abs(data).max() / 32767
    assert (float(image.header["cal_min"]), float(image.header["cal_max"])) == (0.0, 555.0)
    assert bytes(image.header["descrip"]).startswith(b"focvs ")
    write_nifti(path, np.zeros_like(data), AFFINE, like, "int16")
    assert not np.asarray(nib.load(path).dataobj).any()


def test_a_killed_write_leaves_nothing_under_the_final_name(tmp_path):
    """kill -9 at the last moment, when all but the rename is done."""
    code = (
        "import os, signal, numpy as np, nibabel as nib; from pathlib import Path;"
        "from focvs.scan.nifti import write_nifti;"
        "os.replace = lambda *names: os.kill(os.getpid(), signal.SIGKILL);"
        f"write_nifti(Path({str(tmp_path / 'x.nii.gz')!r}), np.ones((8, 8, 8)), np.eye(4), nib.Nifti1Header())"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == -9
    names = [p.name for p in tmp_path.iterdir()]
    assert len(names) == 1 and names[0].startswith(".")


def test_read_nifti_refuses_an_affine_without_volume(tmp_path):
    image = nib.Nifti1Image(noise(), None)
    image.header["sform_code"] = 1
    nib.save(image, tmp_path / "a.nii.gz")
    with pytest.raises(InputError, match="affine"):
        read_nifti(tmp_path / "a.nii.gz")
