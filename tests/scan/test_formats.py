import gzip

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from focvs.errors import InputError
from focvs.scan.formats import image_stem, load_image
from focvs.scan.nifti import read_nifti
from scans import write_scan

AFFINE = np.array([[-1.2, 0.0, 0.0, 30.0], [0.0, 1.1, 0.3, -40.0], [0.0, -0.3, 5.0, -20.0], [0, 0, 0, 1]])
DATA = np.random.default_rng(0).integers(1, 900, (40, 44, 14)).astype(np.int16)


def straight(affine=AFFINE):
    """The same with axes at right angles."""
    out = affine.copy()
    out[1, 2] = out[2, 1] = 0
    return out


def itk_image(affine):
    image = sitk.GetImageFromArray(DATA.transpose(2, 1, 0))
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(sizes.tolist())
    image.SetDirection((np.diag([-1, -1, 1]) @ affine[:3, :3] / sizes).ravel().tolist())
    image.SetOrigin((np.diag([-1, -1, 1]) @ affine[:3, 3]).tolist())
    return image


def written(folder, kind):
    affine = straight()
    if kind in ("nrrd", "mha", "mhd"):
        sitk.WriteImage(itk_image(affine), str(folder / f"a.{kind}"))
    elif kind == "mgz":
        nib.save(nib.MGHImage(DATA, affine), folder / "a.mgz")
    elif kind == "img":
        nib.save(nib.Nifti1Pair(DATA, affine), folder / "a.img")
    elif kind == "NII.GZ":
        write_scan(folder / "b.nii.gz", DATA, affine).rename(folder / "a.NII.GZ")
    elif kind == "zipped nii":
        plain = write_scan(folder / "b.nii", DATA, affine).read_bytes()
        (folder / "a.nii").write_bytes(gzip.compress(plain))
    elif kind == "plain nii.gz":
        write_scan(folder / "b.nii", DATA, affine).rename(folder / "a.nii.gz")
    elif kind == "two":
        nib.save(nib.Nifti2Image(DATA, affine), folder / "a.nii")
    elif kind == "big-endian":
        nib.save(nib.Nifti1Image(DATA.astype(">i2"), affine, nib.Nifti1Header(endianness=">")), folder / "a.nii")
    return next(
        p for p in folder.iterdir() if p.name.startswith("a.") and not p.name.endswith((".hdr", ".raw", ".zraw"))
    )


@pytest.mark.parametrize(
    "kind", ["nrrd", "mha", "mhd", "mgz", "img", "NII.GZ", "zipped nii", "plain nii.gz", "two", "big-endian"]
)
def test_every_format_gives_the_same_voxels_in_the_same_place(tmp_path, kind):
    data, affine, header, _ = read_nifti(written(tmp_path, kind))
    assert np.array_equal(data, DATA)
    assert np.allclose(affine, straight(), atol=1e-4)
    assert header.get_xyzt_units()[0] in ("mm", "unknown")


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.nii.gz", "a"),
        ("a.b.NII", "a.b"),
        ("a.mgz", "a"),
        ("x.nrrd", "x"),
        ("folder", "folder"),
        ("a.json", "a.json"),
    ],
)
def test_stems(tmp_path, name, stem):
    assert image_stem(tmp_path / name) == stem


def test_a_damaged_gzip_stream_is_refused_whatever_it_unpacks_to(tmp_path):
    path = write_scan(tmp_path / "a.nii", DATA, AFFINE)
    content = bytearray(gzip.compress(path.read_bytes(), compresslevel=0))
    content[len(content) // 2] ^= 0x5A
    (tmp_path / "a.nii.gz").write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"damaged or truncated.*gzip -t"):
        load_image(tmp_path / "a.nii.gz")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.nii", b"", "is empty"),
        ("a.nii.gz", b"hello", "does not begin as one"),
        ("a.mnc", b"CDF", "MINC, not NIfTI; convert it first: mnc2nii a.mnc"),
        ("a.png", b"\x89PNG", "a picture"),
        ("a.nii", b"\0" * 128 + b"DICM", r"is a DICOM file; give its folder.*focvs .* out/"),
        ("a.nii", (348).to_bytes(4, "little") + b"\0" * 344, "is Analyze"),
        ("a.nii", (348).to_bytes(4, "little") + b"\0" * 340 + b"ni1\0", "header of a NIfTI pair"),
        ("a.nii", (348).to_bytes(4, "little") + b"\xff" * 340 + b"n+1\0", "its header is broken|could not be read"),
        ("a.mgz", b"nothing", "could not be read"),
        ("a.nrrd", b"nothing", "could not be read"),
        ("a.img", b"nothing", "NIfTI pair"),
    ],
)
def test_what_cannot_be_read_is_named_with_a_cure(tmp_path, name, content, words):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        read_nifti(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_colour_and_missing_programs(tmp_path, monkeypatch):
    image = sitk.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    with pytest.raises(InputError, match="several values per voxel"):
        load_image(tmp_path / "a.mha")
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    with pytest.raises(InputError, match=r"pip install 'focvs\[formats\]'"):
        load_image(tmp_path / "a.mha")


def test_a_header_of_more_voxels_than_there_are_is_refused_before_memory_is_asked_for(tmp_path):
    path = tmp_path / "huge.nii"
    nib.save(nib.Nifti1Image(np.zeros((4, 5, 6), np.float32), np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[42:48] = np.array([30000] * 3, "<i2").tobytes()
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"is truncated, or its header is broken: 30000x30000x30000 voxels need 108"):
        load_image(path)
