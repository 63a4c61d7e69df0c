import json

import nibabel as nib
import numpy as np
import pytest

from command_line import run
from scans import write_scan


def test_simulate(capsys, tmp_path):
    rng = np.random.default_rng(0)
    affine = np.diag([1.0, -1.0, 1.1, 1.0])
    affine[:3, 3] = (5, 6, 7)
    volume = write_scan(tmp_path / "hr.nii.gz", rng.uniform(1, 9, (8, 9, 50)).astype(np.float32), affine)
    code, _, err = run(
        capsys, "simulate", volume, tmp_path / "thick.nii.gz", "thickness=4", "spacing=5", "profile=rect"
    )
    assert code == 0, err
    image = nib.load(tmp_path / "thick.nii.gz")
    assert image.shape == (8, 9, 11)
    assert np.allclose(image.header.get_zooms(), (1, 1, 5))
    middle = [0, 0, 24.5, 1], [0, 0, 5, 1]
    assert np.allclose(affine @ middle[0], image.affine @ middle[1], atol=1e-5)
    sidecar = json.loads((tmp_path / "thick.json").read_text())
    assert (sidecar["SliceThickness"], sidecar["SpacingBetweenSlices"]) == (4, 5)
    code, _, _ = run(capsys, "simulate", volume, tmp_path / "o", "thickness=2", "axis=left-right", "noise=0.1")
    assert code == 0
    assert nib.load(tmp_path / "o" / "hr_thick.nii.gz").shape == (4, 9, 50)
    np.save(tmp_path / "two.npy", np.array([[-1, 0], [-0.9, 1], [0.9, 1], [1, 0]]))
    code, _, err = run(capsys, "simulate", volume, tmp_path / "two.nii.gz", f"profile={tmp_path}/two.npy", "spacing=3")
    assert code == 0, err
    assert json.loads((tmp_path / "two.json").read_text())["SliceThickness"] == pytest.approx(1.9, rel=0.01)
    for wrong, said in (
        ("profile.kind=sampled", "could not be used"),
        ("noise=-1", "at least 0"),
        ("axis=up", "axis=up"),
        ("thickness=-1", "above 0"),
        ("thickness=99", "no slice"),
    ):
        code, _, err = run(capsys, "simulate", volume, tmp_path / "x.nii.gz", wrong)
        assert code == 1
        assert said in err


def test_simulated_noise_is_added_or_that_of_a_magnitude(tmp_path, capsys):
    """In air of nothing the one has a mean of zero, the other of sigma sqrt(pi / 2)."""
    head = np.zeros((40, 40, 48), np.float32)
    head[15:25, 15:25] = 1000
    volume, means = write_scan(tmp_path / "hr.nii.gz", head, np.eye(4)), []
    for word in ("rician=false", "rician=true"):
        code, _, err = run(capsys, "simulate", volume, tmp_path / "thick.nii.gz", "thickness=4", "noise=0.05", word)
        assert code == 0, err
        means.append(nib.load(tmp_path / "thick.nii.gz").get_fdata()[:12].mean())
    assert means == pytest.approx([0, 50 * np.sqrt(np.pi / 2)], abs=2)
