import numpy as np
import pytest

from focvs.errors import InputError
from focvs.scan.maps import read_maps
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
    found = read_maps(*paths)
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
        read_maps(*paths)


def test_another_place_is_refused(files):
    paths, write = files
    write(2, affine=np.diag([1.2, 1.2, 5.0, 1.0]))
    with pytest.raises(InputError, match="give maps on the same voxels"):
        read_maps(*paths)
