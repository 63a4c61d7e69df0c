import numpy as np
import pytest

from focvs.errors import InputError
from focvs.scan.maps import read_images, read_maps
from scans import write_scan

AFFINE = np.diag([1.2, 1.2, 6.0, 1.0])


@pytest.fixture
def files(tmp_path, rng):
    """Paths of maps of proton density, T1 and T2, and a function that writes one again, changed."""
    inside = np.zeros((10, 12, 8))
    inside[2:8, 2:10] = 1
    values = [inside * level * rng.uniform(0.8, 1.2, inside.shape) for level in (800.0, 1.1, 0.08)]
    paths = [tmp_path / f"{name}.nii.gz" for name in ("pd", "t1", "t2")]

    def write(k, change=lambda v: v, affine=AFFINE):
        return write_scan(paths[k], change(values[k]).astype(np.float32), affine)

    for k in range(3):
        write(k)
    return paths, write


def test_maps_are_read_and_are_zero_where_one_is_not_known(files):
    paths, write = files

    def gap(values):
        values = values.copy()
        values[4, 4, 4] = 0
        return values

    write(1, gap)
    found = read_maps(paths)
    assert found.values.shape == (10, 12, 8, 3) and np.allclose(found.affine, AFFINE)
    assert not found.values[4, 4, 4].any() and not found.values[0].any()
    assert np.median(found.values[3:7, 3:9, :, 1]) == pytest.approx(1.1, rel=0.05)


@pytest.mark.parametrize(
    ("k", "change", "words"),
    [
        (1, lambda v: 1000 * v, r"median T1 is 1\.1\de\+03.*look like milliseconds"),
        (2, lambda v: 1000 * v, r"head has 0\.02 to 0\.6 seconds; these look like milliseconds"),
        (2, lambda v: 50 * v, r"head has 0\.02 to 0\.6 seconds\."),
        (1, lambda v: -v, "of the T1 is negative"),
        (2, lambda v: 0 * v, "0 everywhere|constant"),
        (1, lambda v: v[:9], "9x12x8 voxels or another place than pd"),
    ],
)
def test_what_cannot_be_is_refused(files, k, change, words):
    paths, write = files
    write(k, change)
    with pytest.raises(InputError, match=words):
        read_maps(paths)


def test_another_place_is_refused(files):
    paths, write = files
    write(2, affine=np.diag([1.2, 1.2, 5.0, 1.0]))
    with pytest.raises(InputError, match="give all of them on the same voxels"):
        read_maps(paths)


def test_a_map_that_is_not_there_is_one(files):
    paths, _ = files
    found = read_maps([None, paths[1], None])
    assert found.known.any() and (found.values[found.known][:, [0, 2]] == 1).all()
    assert not found.values[~found.known].any()
    with pytest.raises(InputError, match="at least one of density=, t1= and t2="):
        read_maps([None, None, None])


def test_images_have_any_unit_and_one_grid(files):
    paths, write = files
    write(0, lambda v: 3 * v)
    found = read_images(paths)
    assert found.values.shape == (10, 12, 8, 3) and found.values.max() > 1000
    write(1, lambda v: -v)
    with pytest.raises(InputError, match="of the image is negative"):
        read_images(paths)
