"""Several stacks of one head: their operator, the alternating replacement, alignment, and a run from file to file."""

import itertools
import json
import sys
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from conftest import write_scan
from omegaconf import OmegaConf
from scipy import ndimage
from scipy.spatial.transform import Rotation

from focvs.acquisition.grid import make_grid
from focvs.acquisition.interpolation import spline_matrix
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.phantom import head_phantom
from focvs.acquisition.profile import gaussian_profile, make_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.acquisition.stack_operator import StackOperator
from focvs.cli import main
from focvs.commands.overrides import compose, further_stacks, quote
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.reconstruction import stacks
from focvs.reconstruction.forward_model import model_acquisition
from focvs.reconstruction.reconciliation import Reconciliation
from focvs.reconstruction.stacks import open_stacks, spaced, voxels_along
from focvs.reconstruction.voxels import volume_affine
from focvs.sampling.alternating import OtherStack, StackedConsistency
from focvs.sampling.consistency import Consistency
from focvs.scan.nifti import read_nifti
from focvs.scan.registration import register_rigidly
from focvs.scan.scan import read_scan
from focvs.scan.slices import take_slices
from focvs.scan.units import white_level

VOXEL, THICK = 1.2, 3.6  # mm
UNMOVED = np.eye(4)


def centred(shape, columns):
    """An affine about the origin with these columns."""
    affine = np.eye(4)
    affine[:3, :3] = np.stack(columns, axis=1)
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


@pytest.fixture(scope="module")
def head(phantom):
    """``(54, 63, 60)`` voxels of 1.2 mm, right-anterior-superior."""
    return 1000 * phantom[0][1:55, :63]


def stack_of(path, head, axis, turned=UNMOVED, noise=0.0, scale=1.0):
    """A scan with slices of 3.6 mm along ``axis`` of the head; ``turned`` is what its header gets wrong."""
    slices = simulate_slices(np.moveaxis(head, axis, -1), VOXEL, gaussian_profile(THICK), THICK)
    slices = scale * np.moveaxis(slices, -1, axis)
    slices = slices + noise * np.random.default_rng(axis).normal(size=slices.shape)
    steps = np.eye(3) * VOXEL
    steps[axis, axis] = THICK
    return write_scan(path, slices.astype(np.float32), turned @ centred(slices.shape, steps))


@pytest.fixture
def axial(tmp_path, head):
    return stack_of(tmp_path / "axial.nii.gz", head, 2)


@pytest.fixture
def sagittal(tmp_path, head):
    return stack_of(tmp_path / "sagittal.nii.gz", head, 0, scale=0.5)


def settings(scan, stacks, out, prior, *overrides):
    words = [f"scan={quote(str(scan))}", f"stacks=[{','.join(quote(str(s)) for s in stacks)}]", "thickness=3.6"]
    words += [f"prior.path={quote(str(prior))}", f"output_dir={quote(str(out))}", "samples=1", "steps=2"]
    return OmegaConf.to_object(compose("config", [*words, "progress=false", *overrides]))


SHAPE = (12, 8, 15)


def sideways(fine=(1, 1), turned=UNMOVED):
    """Operator of slices of 4 mm every 3 mm along the first axis of ``SHAPE`` voxels of 1 mm."""
    profile = make_profile("rect", 4.0)
    operator = ThroughPlaneOperator(profile, make_grid(4, 3.0, 1.0, profile.half_support_mm))
    pixels = (SHAPE[1] // fine[0], SHAPE[2] // fine[1])
    columns = np.eye(3)[:, [1, 2, 0]] * (*fine, 3.0)
    affine = turned @ centred((*pixels, 4), columns.T)
    return StackOperator(SHAPE, centred(SHAPE, np.eye(3)), operator, pixels, affine, fine)


def test_slices_of_the_same_voxels_are_those_of_the_through_plane_operator():
    stack = sideways()
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    columns = x.movedim(0, -1)
    margin = stack.operator.grid.margin
    padded = torch.nn.functional.pad(columns, (margin, margin), mode="replicate")
    inner = slice(1, -1)  # slices that see nothing beyond the volume
    assert stack.covered[..., inner].all() and not stack.covered[..., 0].any()
    assert torch.allclose(stack(x)[..., inner], stack.operator(padded)[..., inner], atol=1e-10)


def test_pixels_coarser_than_voxels_are_averages():
    x = torch.randn(SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fine, coarse = sideways()(x), sideways(fine=(2, 3))(x)
    assert torch.allclose(coarse, fine.unflatten(0, (4, 2)).unflatten(2, (5, 3)).mean((1, 3)), atol=1e-10)


def test_slices_beside_the_volume_do_not_count():
    shifted = np.eye(4)
    shifted[0, 3] = 7.0
    stack = sideways(turned=shifted)
    assert not stack.covered[..., -2:].any()
    x = torch.randn(SHAPE, dtype=torch.float64)
    assert not stack.residual(x, torch.full((*SHAPE[1:], 4), 9.0, dtype=torch.float64))[..., -2:].any()


def both_rules():
    """Rules of an axial and a sideways stack of noise-free slices of one random volume, and all of them as matrices."""
    profile = gaussian_profile(3.0)
    first = ThroughPlaneOperator(profile, make_grid(5, 3.0, 1.0, 0.0))  # without margins
    other = sideways()
    truth = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    rule = Consistency("ddnm", first)
    further = OtherStack(other, other(truth), Consistency("ddnm", other.operator))
    return truth, rule, StackedConsistency(rule, [further]), other


def test_alternating_replacement_ends_near_the_start_in_what_both_stacks_allow():
    truth, rule, stacked, other = both_rules()
    y = rule.operator(truth)
    x = start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    for _ in range(40):
        x = stacked.replace(x[None], y, 0)[0]
    assert float((rule.operator(x) - y).abs().max()) < 1e-5
    assert float(other.residual(x.double(), other(truth)).abs().max()) < 1e-3
    # densely: how far the nearest such volume is
    units = torch.eye(int(np.prod(SHAPE)), dtype=torch.float64).view(-1, *SHAPE)
    seen = torch.stack([other(u)[other.covered] for u in units])
    rows = torch.cat([rule.operator(units).flatten(1), seen], dim=1).T
    wanted = rows @ (truth - start.double()).flatten()
    least = torch.linalg.lstsq(rows, wanted[:, None], driver="gelsd").solution.square().sum()
    assert float((x.double() - start.double()).square().sum()) < 1.1 * float(least)


def test_draws_repeat_and_differ():
    truth, _, stacked, _ = both_rules()
    rule = replace(stacked.first, spectra=torch.full((1, SHAPE[2]), 0.01, dtype=torch.float64), noise_sigma=0.1)
    noisy = replace(stacked.others[0], rule=replace(stacked.others[0].rule, noise_sigma=0.1))
    both = StackedConsistency(rule, [noisy])
    y = rule.operator(truth)
    noise = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(4))
    scan_noise = torch.zeros(2, *y.shape)
    draws = [both.draw(truth[None].float().expand(2, *SHAPE), y, 0, noise, scan_noise) for _ in range(2)]
    assert torch.equal(*draws)
    quiet = StackedConsistency(rule, [replace(noisy, rule=replace(noisy.rule, noise_sigma=0.0))])
    difference = draws[0] - quiet.draw(truth[None].float().expand(2, *SHAPE), y, 0, noise, scan_noise)
    assert difference[0].abs().max() > 0.01 and not torch.allclose(difference[0], difference[1])
    still = both.draw(truth[None].float(), y, 0, torch.zeros(1, *SHAPE), scan_noise[:1])
    assert torch.allclose(still, stacked.replace(truth[None], y, 0), atol=1e-5)


def test_one_volume_is_consistent_with_both_stacks(tmp_path, axial, sagittal, head, tiny_prior):
    config = settings(axial, [sagittal], tmp_path / "out", tiny_prior, "align=headers", "voxel=1.2")
    paths = super_resolve(config)
    report = json.loads(paths["json"].read_text())
    assert report["consistency"]["relative_residual"] <= 1e-5
    (entry,) = report["stacks"]
    assert entry["gain"] == pytest.approx(2.0, rel=0.02)
    assert entry["correlation"] > 0.9
    assert entry["rotation_deg"] == 0
    assert entry["relative_rms_residual"] < 0.01
    # alone, the untrained prior knows nothing of what the second stack sees
    alone = super_resolve(settings(axial, [], tmp_path / "alone", tiny_prior, "voxel=1.2"))
    errors = [np.abs(np.asarray(nib.load(p["mean"]).dataobj) - head)[8:-8, 8:-8, 8:-8].mean() for p in (paths, alone)]
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


@pytest.mark.parametrize(
    "overrides",
    [[], ["sampler=dpmpp_2m", "consistency=ddnm", "batch=2", "samples=2"], ["noise=5", "consistency=diffpir"]],
    ids=str,
)
def test_every_level_holds_to_both(tmp_path, axial, sagittal, tiny_conditioned_prior, overrides):
    """Without the last replacement, which would hide it."""
    overrides = ["align=headers", "final_replacement=false", *overrides]
    both = super_resolve(settings(axial, [sagittal], tmp_path / "both", tiny_conditioned_prior, *overrides))
    alone = super_resolve(settings(axial, [], tmp_path / "alone", tiny_conditioned_prior, *overrides))
    scan = read_scan(axial)
    config = settings(axial, [sagittal], tmp_path, tiny_conditioned_prior, "align=headers")
    (stack,) = open_stacks(config, scan, model_acquisition(scan, config))
    far, near = (
        stack.operator(image.shape, image.affine).residual(torch.from_numpy(image.get_fdata()), stack.slices).std()
        for image in (nib.load(alone["mean"]), nib.load(both["mean"]))
    )
    assert near < 0.6 * far


def test_nothing_is_replaced_where_nothing_is_asked_to_be(tmp_path, axial, sagittal, tiny_prior):
    words = ["align=headers", "consistency=none", "sampler=dpmpp_2m"]
    both = super_resolve(settings(axial, [sagittal], tmp_path / "both", tiny_prior, *words))
    alone = super_resolve(settings(axial, [], tmp_path / "alone", tiny_prior, *words))
    assert np.array_equal(nib.load(both["mean"]).get_fdata(), nib.load(alone["mean"]).get_fdata())


def test_overlapping_slices_of_a_further_stack_are_not_held_to_exactly(tmp_path, axial, head, tiny_prior):
    slices = simulate_slices(np.moveaxis(head, 0, -1), VOXEL, gaussian_profile(5.0), 2.4)
    slices = np.moveaxis(slices, -1, 0)
    overlapping = write_scan(tmp_path / "s.nii.gz", slices, centred(slices.shape, np.diag([2.4, VOXEL, VOXEL])))
    (tmp_path / "s.json").write_text('{"SliceThickness": 5.0}')
    config = settings(axial, [overlapping], tmp_path / "out", tiny_prior, "align=headers", "consistency=ddnm")
    config.thickness = None
    report = json.loads(super_resolve(config)["json"].read_text())
    assert report["consistency"]["rule"] == "calibrated"
    assert any(warning.startswith("s.nii.gz: its slices overlap") for warning in report["warnings"])
    assert report["consistency"]["relative_residual"] <= 1e-5  # of the first, whose slices do not


@pytest.mark.parametrize("pixel", [0.9, 1.0, 1.7, 2.5])
def test_rounds_bring_other_pixel_sizes_nearer(tmp_path, axial, head, tiny_prior, pixel):
    """Pixels finer and coarser than the voxels of 1.2 mm, in no whole ratio."""
    factor = VOXEL / pixel
    other = ndimage.zoom(head, (1, factor, factor), order=1, mode="nearest", grid_mode=True)
    slices = np.moveaxis(simulate_slices(np.moveaxis(other, 0, -1), VOXEL, gaussian_profile(THICK), THICK), -1, 0)
    pixels = [head.shape[k] * VOXEL / other.shape[k] for k in (1, 2)]
    path = write_scan(tmp_path / "s.nii.gz", slices, centred(slices.shape, np.diag([THICK, *pixels])))
    scan = read_scan(axial)
    config = settings(axial, [path], tmp_path, tiny_prior, "align=headers", "voxel=1.2")
    acquisition = model_acquisition(scan, config)
    (stack,) = open_stacks(config, scan, acquisition)
    together = Reconciliation([stack], scan, acquisition)
    whole = torch.from_numpy(scan.data) @ spline_matrix(acquisition.grid, margins=False).float().T
    operator, left = together.operators[0], []
    for _ in range(6):
        residual = operator.residual(whole, stack.slices)
        left.append(float(residual.square().mean()))
        whole = whole + operator.back(stack.acquisition.sampled.pseudo_inverse(residual))
    assert all(b <= a for a, b in itertools.pairwise(left))
    assert left[-1] < 0.4 * left[0]


def test_fine_pixels_of_the_second_stack_are_averaged_first(tmp_path, axial, head, tiny_prior):
    finely = head.repeat(3, axis=1).repeat(3, axis=2)
    slices = simulate_slices(np.moveaxis(finely, 0, -1), VOXEL, gaussian_profile(THICK), THICK)
    steps = np.diag([THICK, VOXEL / 3, VOXEL / 3])
    slices = np.moveaxis(slices, -1, 0)
    fine = write_scan(tmp_path / "fine.nii.gz", slices, centred(slices.shape, steps))
    config = settings(axial, [fine], tmp_path / "out", tiny_prior, "align=headers", "voxel=1.2")
    scan = read_scan(axial)
    (stack,) = open_stacks(config, scan, model_acquisition(scan, config))
    assert stack.scan.data.shape == (63, 60, 18) and stack.fine == (1, 1)
    assert stack.gain == pytest.approx(1.0, rel=0.02)


def test_motion_between_the_stacks_is_found(tmp_path):
    head = 1000 * head_phantom((108, 126, 120), seed=2)[0]
    axial = stack_of(tmp_path / "axial.nii.gz", head, 2, noise=10)
    motion = np.eye(4)
    motion[:3, :3] = Rotation.from_euler("xyz", (3, -2, 4), degrees=True).as_matrix()
    motion[:3, 3] = (2, -3, 1.5)
    turned = stack_of(tmp_path / "turned.nii.gz", head, 0, turned=motion, noise=10)
    found = register_rigidly(read_scan(axial), read_scan(turned))
    corners = np.array([(x, y, z, 1) for x in (-50, 50) for y in (-60, 60) for z in (-50, 50)])
    before, after = (
        np.linalg.norm((corners @ moved.T - corners)[:, :3], axis=1).max()
        for moved in (motion, np.linalg.inv(motion) @ found)
    )
    assert before > 6 and after < 1.5  # mm; the phantom is all but an ellipsoid, heads are aligned to 0.1
    again = register_rigidly(read_scan(axial), read_scan(turned))
    assert np.array_equal(found, again)


def test_the_stack_lies_in_the_world_of_the_first_after_alignment(tmp_path, axial, head, tiny_prior):
    motion = np.eye(4)
    motion[:3, 3] = (4.0, -3.0, 2.0)
    turned = stack_of(tmp_path / "turned.nii.gz", head, 0, turned=motion)
    scan = read_scan(axial)
    config = settings(axial, [turned], tmp_path, tiny_prior)
    (stack,) = open_stacks(config, scan, model_acquisition(scan, config))
    assert stack.affine[:3, 3] == pytest.approx(volume_affine(read_scan(turned))[:3, 3] - (4, -3, 2), abs=0.4)
    assert stack.describe()["translation_mm"] == pytest.approx((4, -3, 2), abs=0.4)
    assert stack.correlation > 0.9


def test_a_corrected_spacing_keeps_the_centre(axial):
    scan = read_scan(axial)
    wider = spaced(scan, 1.25 * scan.spacing_mm)
    middle = [(n - 1) / 2 for n in nib.load(axial).shape]
    middle, end = [*middle, 1.0], [*middle[: scan.axis], 0.0, *middle[scan.axis + 1 :], 1.0]
    assert np.allclose(wider.affine @ middle, scan.affine @ middle)
    assert np.allclose(wider.affine @ end - wider.affine @ middle, 1.25 * (scan.affine @ end - scan.affine @ middle))
    assert np.allclose(spaced(scan, scan.spacing_mm).affine, scan.affine)


def test_stacks_are_registered_to_the_spacing_that_was_given(tmp_path, axial, head, tiny_prior, monkeypatch):
    seen = []
    monkeypatch.setattr(stacks, "register_rigidly", lambda fixed, _: seen.append(fixed.spacing_mm) or np.eye(4))
    scan = read_scan(axial)
    given = 0.99 * scan.spacing_mm
    config = settings(axial, [axial], tmp_path / "out", tiny_prior, f"spacing={given}")
    open_stacks(config, scan, model_acquisition(scan, config))
    assert seen == [pytest.approx(given)]


def test_unlike_and_distant_stacks_are_refused(tmp_path, axial, head, tiny_prior):
    scan = read_scan(axial)

    def open_one(path, *overrides):
        config = settings(axial, [path], tmp_path / "out", tiny_prior, "align=headers", *overrides)
        return open_stacks(config, scan, model_acquisition(scan, config))

    other = stack_of(tmp_path / "other.nii.gz", np.random.default_rng(0).normal(500, 100, head.shape), 0)
    with pytest.raises(InputError, match="in one contrast"):
        open_one(other)
    far = np.eye(4)
    far[0, 3] = 500.0
    with pytest.raises(InputError, match="hardly overlap"):
        open_one(stack_of(tmp_path / "far.nii.gz", head, 0, turned=far))
    with pytest.raises(InputError, match="align=none is not known"):
        super_resolve(settings(axial, [other], tmp_path / "none", tiny_prior, "align=none"))
    assert not (tmp_path / "none").exists()


def test_alignment_asks_for_its_library(tmp_path, axial, sagittal, monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    with pytest.raises(InputError, match=r"focvs\[stacks\]"):
        register_rigidly(read_scan(axial), read_scan(sagittal))


def test_spectral_rules_take_one_stack(tmp_path, axial, sagittal, tiny_prior):
    config = settings(axial, [sagittal], tmp_path / "out", tiny_prior, "sampler=ddpm", "consistency=ddrm")
    with pytest.raises(InputError, match="restores one stack"):
        super_resolve(config)
    assert not (tmp_path / "out").exists()


def test_the_command_line_takes_stacks_before_the_folder(tmp_path, axial, sagittal, monkeypatch, capsys):
    words = [str(axial), "samples=1", str(sagittal), "third.nii", str(tmp_path / "out")]
    kept, stacks = further_stacks(words)
    assert stacks == [str(sagittal), "third.nii"]
    assert kept == [str(axial), "samples=1", str(tmp_path / "out")]
    assert main([str(axial), str(sagittal), str(tmp_path / "out"), "--cfg", "job"]) == 0
    printed = OmegaConf.create(capsys.readouterr().out)
    assert printed.scan == str(axial) and printed.stacks == [str(sagittal)]
    assert printed.output_dir == str(tmp_path / "out")


def test_a_missing_stack_is_one_sentence(tmp_path, axial, capsys):
    assert main([str(axial), str(tmp_path / "none.nii.gz"), str(tmp_path / "out"), "thickness=3.6"]) == 1
    assert "none.nii.gz does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_noise_is_that_of_the_first_units(tmp_path, axial, sagittal, tiny_prior):
    scan = read_scan(axial)
    config = settings(axial, [sagittal], tmp_path, tiny_prior, "align=headers", "noise=8")
    (stack,) = open_stacks(config, scan, model_acquisition(scan, config))
    assert stack.noise * stack.gain == pytest.approx(8)
    assert take_slices(scan, config).noise_sigma == pytest.approx(8 * 2 / white_level(scan.data))


def test_pixels_are_compared_with_the_voxels_that_lie_along_them():
    """Voxels of 1 x 1.15 x 1.15 mm: pixels of 1.15 mm across the first axis are no coarser than they are."""
    voxels = np.diag([-1.0, 1.15, 1.15])
    turned = Rotation.from_euler("xyz", [5, -4, 3], degrees=True).as_matrix()
    directions = turned @ np.array([[0.0, 0.0, 2.0], [3.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    assert voxels_along(voxels, directions) == pytest.approx([1.15, 1.15, 1.0])


def test_a_sagittal_stack_of_the_volumes_own_pixels_is_neither_averaged_nor_split(tmp_path):
    head = 1000 * head_phantom((60, 70, 64), seed=2)[1]
    axial = simulate_slices(head, 1.15, gaussian_profile(4.6), 4.6)
    first = write_scan(tmp_path / "axial.nii.gz", axial, np.diag([1.0, 1.15, 4.6, 1.0]))
    sagittal = simulate_slices(np.moveaxis(head, 0, -1), 1.0, gaussian_profile(4.0), 4.0)
    affine = np.array([[0, 0, 4.0, 1.5], [1.15, 0, 0, 0], [0, 1.15, 0, -1.725], [0, 0, 0, 1.0]])
    second = write_scan(tmp_path / "sagittal.nii.gz", sagittal, affine)
    words = [f"scan={quote(str(first))}", f"stacks=[{quote(str(second))}]", "align=headers", "voxel=1.15"]
    scan, config = read_scan(first), OmegaConf.to_object(compose("config", words))
    (stack,) = open_stacks(config, scan, model_acquisition(scan, config))
    assert stack.fine == (1, 1) and stack.scan.in_plane_mm == pytest.approx((1.15, 1.15))
