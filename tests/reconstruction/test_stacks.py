"""Several stacks of one head: their operator, the alternating replacement, alignment, and a run from file to file."""

import json

import nibabel as nib
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy.spatial.transform import Rotation

from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.commands.overrides import compose, quote
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.reconstruction import stacks
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.stacks import open_stacks, spaced, voxels_along
from focvs.scan.nifti import read_nifti
from focvs.scan.scan import read_scan
from focvs.scan.slices import take_slices
from scans import write_scan
from stacked import THICK, VOXEL, centred, settings, stack_of


def test_one_volume_is_consistent_with_both_stacks(tmp_path, axial, sagittal, stack_head, tiny_prior):
    config = settings(axial, [sagittal], tmp_path / "out", tiny_prior, "align=headers", "voxel=1.2")
    paths = super_resolve(config)
    report = json.loads(paths["json"].read_text())
    assert report["consistency"]["relative_residual"] <= 1e-5
    (entry,) = report["stacks"]
    assert entry["gain"] == pytest.approx(2.0, rel=0.02)
    assert entry["correlation"] > 0.9
    assert entry["rotation_deg"] == 0
    assert entry["relative_rms_residual"] < 0.015  # of an untrained prior, held above zero as well
    # alone, the untrained prior knows nothing of what the second stack sees
    alone = super_resolve(settings(axial, [], tmp_path / "alone", tiny_prior, "voxel=1.2"))
    errors = [
        np.abs(np.asarray(nib.load(p["mean"]).dataobj) - stack_head)[8:-8, 8:-8, 8:-8].mean() for p in (paths, alone)
    ]
    assert errors[0] < 0.8 * errors[1]
    # by hand: what the written volume makes of the second stack
    scan = read_scan(axial)
    stack = open_stacks(config, scan, model_acquisition(scan, config))[0]
    volume = torch.from_numpy(read_nifti(paths["mean"])[0])
    operator = stack.operator(volume.shape, nib.load(paths["mean"]).affine)
    residual = operator.residual(volume, stack.slices)
    assert float(residual.abs().max()) / float(np.ptp(stack.slices.numpy())) == pytest.approx(
        entry["relative_residual"], rel=1e-3
    )


def test_fine_pixels_of_the_second_stack_are_averaged_first(tmp_path, axial, stack_head, tiny_prior):
    finely = stack_head.repeat(3, axis=1).repeat(3, axis=2)
    slices = simulate_slices(np.moveaxis(finely, 0, -1), VOXEL, gaussian_profile(THICK), THICK)
    steps = np.diag([THICK, VOXEL / 3, VOXEL / 3])
    slices = np.moveaxis(slices, -1, 0)
    fine = write_scan(tmp_path / "fine.nii.gz", slices, centred(slices.shape, steps))
    config = settings(axial, [fine], tmp_path / "out", tiny_prior, "align=headers", "voxel=1.2")
    scan = read_scan(axial)
    (stack,) = open_stacks(config, scan, model_acquisition(scan, config))
    assert stack.scan.data.shape == (63, 60, 18) and stack.fine == (1, 1)
    assert stack.gain == pytest.approx(1.0, rel=0.02)


def test_the_stack_lies_in_the_world_of_the_first_after_alignment(tmp_path, axial, stack_head, tiny_prior):
    motion = np.eye(4)
    motion[:3, 3] = (4.0, -3.0, 2.0)
    turned = stack_of(tmp_path / "turned.nii.gz", stack_head, 0, turned=motion)
    scan = read_scan(axial)
    config = settings(axial, [turned], tmp_path, tiny_prior)
    (stack,) = open_stacks(config, scan, model_acquisition(scan, config))
    assert stack.affine[:3, 3] == pytest.approx(read_scan(turned).affine[:3, 3] - (4, -3, 2), abs=0.4)
    assert stack.translation_mm == pytest.approx((4, -3, 2), abs=0.4)
    assert stack.correlation > 0.9


def test_a_corrected_spacing_keeps_the_centre(axial):
    scan = read_scan(axial)
    wider = spaced(scan, 1.25 * scan.spacing_mm)
    middle = [(n - 1) / 2 for n in nib.load(axial).shape]
    middle, end = [*middle, 1.0], [*middle[:2], 0.0, 1.0]
    assert np.allclose(wider.affine @ middle, scan.affine @ middle)
    assert np.allclose(wider.affine @ end - wider.affine @ middle, 1.25 * (scan.affine @ end - scan.affine @ middle))
    assert np.allclose(spaced(scan, scan.spacing_mm).affine, scan.affine)


def test_stacks_are_registered_to_the_spacing_that_was_given(tmp_path, axial, stack_head, tiny_prior, monkeypatch):
    seen = []
    monkeypatch.setattr(stacks, "register_rigidly", lambda fixed, _: seen.append(fixed.spacing_mm) or np.eye(4))
    scan = read_scan(axial)
    given = 0.99 * scan.spacing_mm
    config = settings(axial, [axial], tmp_path / "out", tiny_prior, f"spacing={given}")
    open_stacks(config, scan, model_acquisition(scan, config))
    assert seen == [pytest.approx(given)]


def test_unlike_and_distant_stacks_are_refused(tmp_path, axial, stack_head, tiny_prior):
    scan = read_scan(axial)

    def open_one(path, *overrides):
        config = settings(axial, [path], tmp_path / "out", tiny_prior, "align=headers", *overrides)
        return open_stacks(config, scan, model_acquisition(scan, config))

    other = stack_of(tmp_path / "other.nii.gz", np.random.default_rng(0).gamma(1.0, 300, stack_head.shape), 0)
    with pytest.raises(InputError, match="in one contrast"):
        open_one(other)
    far = np.eye(4)
    far[0, 3] = 500.0
    with pytest.raises(InputError, match="hardly overlap"):
        open_one(stack_of(tmp_path / "far.nii.gz", stack_head, 0, turned=far))
    with pytest.raises(InputError, match="align=none is not known"):
        super_resolve(settings(axial, [other], tmp_path / "none", tiny_prior, "align=none"))
    assert not (tmp_path / "none").exists()


def test_noise_is_that_of_the_first_units(tmp_path, axial, sagittal, tiny_prior):
    scan = read_scan(axial)
    config = settings(axial, [sagittal], tmp_path, tiny_prior, "align=headers", "noise=8")
    (stack,) = open_stacks(config, scan, model_acquisition(scan, config))
    assert stack.noise_intensity * stack.gain == pytest.approx(8)
    assert take_slices(scan, 8.0).noise_prior == pytest.approx(8 * 2 / scan.units.white)


def test_pixels_are_compared_with_the_voxels_that_lie_along_them():
    """Voxels of 1 x 1.15 x 1.15 mm: pixels of 1.15 mm across the first axis are no coarser than they are."""
    voxels = np.diag([-1.0, 1.15, 1.15])
    turned = Rotation.from_euler("xyz", [5, -4, 3], degrees=True).as_matrix()
    directions = turned @ np.array([[0.0, 0.0, 2.0], [3.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    assert voxels_along(voxels, directions) == pytest.approx([1.15, 1.15, 1.0])


def test_a_sagittal_stack_of_the_volumes_own_pixels_is_neither_averaged_nor_split(tmp_path):
    stack_head = 1000 * head_phantom((60, 70, 64), seed=2)[1]
    axial = simulate_slices(stack_head, 1.15, gaussian_profile(4.6), 4.6)
    first = write_scan(tmp_path / "axial.nii.gz", axial, np.diag([1.0, 1.15, 4.6, 1.0]))
    sagittal = simulate_slices(np.moveaxis(stack_head, 0, -1), 1.0, gaussian_profile(4.0), 4.0)
    affine = np.array([[0, 0, 4.0, 1.5], [1.15, 0, 0, 0], [0, 1.15, 0, -1.725], [0, 0, 0, 1.0]])
    second = write_scan(tmp_path / "sagittal.nii.gz", sagittal, affine)
    words = [f"scan={quote(str(first))}", f"stacks=[{quote(str(second))}]", "align=headers", "voxel=1.15"]
    scan, config = read_scan(first), OmegaConf.to_object(compose("config", words))
    (stack,) = open_stacks(config, scan, model_acquisition(scan, config))
    assert stack.fine == (1, 1) and stack.scan.in_plane_mm == pytest.approx((1.15, 1.15))
