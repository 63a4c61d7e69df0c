import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from focvs.acquisition.phantom import head_phantom
from focvs.errors import InputError
from focvs.scan.registration import register_rigidly, turn_deg
from focvs.scan.scan import read_scan
from stacked import stack_of


@pytest.mark.parametrize("degrees", [0.0, 1e-5, 0.3, 90.0, 179.9, 180.0])
def test_the_angle_of_a_turn(degrees):
    axis = np.array([1.0, -2.0, 0.5]) / np.linalg.norm([1.0, -2.0, 0.5])
    moved = np.eye(4)
    moved[:3, :3] = Rotation.from_rotvec(np.deg2rad(degrees) * axis).as_matrix()
    assert turn_deg(moved) == pytest.approx(degrees, abs=1e-6, rel=1e-6)


def test_motion_between_the_stacks_is_found(tmp_path):
    stack_head = 1000 * head_phantom((108, 126, 120), seed=2)[0]
    axial = stack_of(tmp_path / "axial.nii.gz", stack_head, 2, noise=10)
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", (3, -2, 4), degrees=True).as_matrix()
    motion[:3, 3] = (2, -3, 1.5)
    turned = stack_of(tmp_path / "turned.nii.gz", stack_head, 0, turned=motion, noise=10)
    found = register_rigidly(read_scan(axial), read_scan(turned))
    corners = np.array([(x, y, z, 1) for x in (-50, 50) for y in (-60, 60) for z in (-50, 50)])
    before, after = (
        np.linalg.norm((corners @ moved.T - corners)[:, :3], axis=1).max()
        for moved in (motion, np.linalg.inv(motion) @ found)
    )
    assert before > 6 and after < 1.5  # mm; the phantom is all but an ellipsoid, heads are aligned to 0.1
    again = register_rigidly(read_scan(axial), read_scan(turned))
    assert np.array_equal(found, again)


def test_alignment_asks_for_its_library(tmp_path, axial, sagittal, monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(InputError, match=r"focvs\[stacks\]"):
        register_rigidly(read_scan(axial), read_scan(sagittal))
