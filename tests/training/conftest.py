import nibabel as nib
import numpy as np
import pytest

from focvs.training.cache import build_cache


@pytest.fixture(scope="module")
def cache(tmp_path_factory, phantom):
    folder = tmp_path_factory.mktemp("data")
    clean = phantom[0]
    labels = np.digitize(clean, [0.05, 0.3, 0.6]).astype(np.int16)
    ids = np.array([0, 24, 3, 2], np.int16)
    for group, name, data, voxel in (
        ("isotropic", "head", clean, (1.0, 1.0, 1.0)),
        ("isotropic", "kept_out", clean, (1.0, 1.0, 1.0)),
        ("thick", "stack", clean[:, :, ::5], (0.5, 0.5, 5.0)),
        ("labels", "map", ids[labels], (1.0, 1.0, 1.0)),
    ):
        (folder / group).mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(data, np.diag([*voxel, 1.0])), folder / group / f"{name}.nii.gz")
    path = folder / "cache" / "train.npz"
    assert build_cache(folder, path, exclude=("kept_out",)) == ["head", "stack", "map"]
    return path
