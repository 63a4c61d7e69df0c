"""Lesions whose contrast and volume are known."""

import numpy as np
import pytest
from scipy import ndimage

from evaluations import evaluate
from focvs.errors import InputError
from focvs.evaluation.lesions import by_size, compare_lesions, find_lesions
from scans import write_scan
from tissues import AFFINE

VOXEL = np.array([1.0, 1.0, 2.0])


@pytest.fixture
def head():
    """A uniform head with a large bright lesion, a small one and a dark one."""
    z, y, x = np.ogrid[-40:40, -40:40, -20:20]
    mask = z**2 + y**2 + (2 * x) ** 2 < 38**2
    truth = np.where(mask, 100.0, 0.0)
    lesions = (z + 8) ** 2 + y**2 + (2 * x) ** 2 < 9**2
    small = (z - 12) ** 2 + (y - 6) ** 2 + (2 * x) ** 2 < 3.5**2
    dark = (z - 10) ** 2 + (y + 14) ** 2 + (2 * x) ** 2 < 5**2
    truth[lesions | small], truth[dark] = 200.0, 50.0
    return truth, mask, lesions | small, dark


def test_the_truth_keeps_everything(head):
    truth, mask, bright, dark = head
    large, middle, small = compare_lesions(truth, truth, bright | dark, mask, VOXEL)
    for lesion in (large, middle, small):
        assert lesion.contrast_kept == pytest.approx(1) and lesion.volume_kept == 1
        assert lesion.erased == lesion.invented == 0
    assert [large.contrast, middle.contrast, small.contrast] == pytest.approx([2, 0.5, 2])
    assert large.volume_ml == pytest.approx(bright[:42].sum() * 2 / 1000)


def test_what_is_erased_halved_and_invented_is_counted(head):
    truth, mask, bright, _ = head
    halved = np.where(bright, 160.0, truth)
    kept = compare_lesions(truth, halved, bright, mask, VOXEL)
    assert [lesion.contrast_kept for lesion in kept] == pytest.approx([0.6, 0.6])
    assert [lesion.erased for lesion in kept] == [0, 0]
    erased = compare_lesions(truth, np.where(bright, 100.0, truth), bright, mask, VOXEL)
    assert [lesion.contrast_kept for lesion in erased] == pytest.approx([0, 0])
    assert [lesion.erased for lesion in erased] == [1, 1] and [lesion.volume_kept for lesion in erased] == [0, 0]
    swollen = ndimage.binary_dilation(bright, np.ones((11, 11, 7)))
    grown = compare_lesions(truth, np.where(swollen, 200.0, truth), bright, mask, VOXEL)
    assert all(lesion.invented > 0.3 and lesion.volume_kept > 1.3 and lesion.erased == 0 for lesion in grown)
    sizes = by_size(grown)
    assert list(sizes) == ["0.1 to 1 ml", "above 1 ml"] and sizes["above 1 ml"]["lesions"] == 1


def test_a_lesion_without_contrast_is_left_out(head):
    truth, mask, bright, dark = head
    assert len(compare_lesions(np.where(bright, 100.0, truth), truth, bright | dark, mask, VOXEL)) == 1


def test_bright_lesions_are_found_and_the_scalp_is_not(head):
    truth, mask, bright, _ = head
    scalp = mask & ~ndimage.binary_erosion(mask, iterations=3)
    found = find_lesions(np.where(scalp, 300.0, truth), mask, VOXEL, 1.5, 18)
    assert not (found & scalp).any()
    assert (found & bright).sum() > 0.8 * bright.sum() and not (found & ~bright).any()


def test_lesions_near_the_surface_of_a_brain_can_be_asked_for():
    head = np.zeros((40, 40, 40), bool)
    head[4:36, 4:36, 4:36] = True
    volume = np.where(head, 100.0, 0.0)
    volume[16:24, 16:24, 8:14] = 200  # 4 mm below the surface
    volume[20, 20, 25:33] = 200  # a line
    one = np.ones(3)
    assert not find_lesions(volume, head, one, 1.5, 18).any()
    for axes in ((0, 1, 2), (2, 0, 1)):  # whichever way it lies
        found = find_lesions(volume.transpose(axes), head.transpose(axes), one, 1.5, 3)
        assert found.sum() > 300 and not found.transpose(np.argsort(axes))[..., 25:].any()


@pytest.mark.parametrize("across", [0, 1, 2])
def test_in_thick_slices_lesions_are_what_is_wide_in_plane(across):
    head, voxel_mm = np.ones((30, 30, 30), bool), np.ones(3)
    voxel_mm[across] = 4.0
    volume = np.full(head.shape, 100.0)
    disc, line = np.moveaxis(volume, across, -1)[10:15, 10:15, 15:16], np.moveaxis(volume, across, -1)[20, 20, 10:20]
    disc[:] = line[:] = 200
    found = np.moveaxis(find_lesions(volume, head, voxel_mm, 1.5, 3.0), across, -1)
    assert found[10:15, 10:15, 15].all() and found.sum() == 25


def test_evaluate_reports_lesions(tmp_path, head, capsys):
    truth, _, bright, _ = head
    path = write_scan(tmp_path / "truth.nii.gz", truth.astype(np.float32), AFFINE)
    worse = write_scan(tmp_path / "worse.nii.gz", np.where(bright, 150.0, truth).astype(np.float32), AFFINE)
    lesions = write_scan(tmp_path / "lesions.nii.gz", bright.astype(np.uint8), AFFINE)
    (row,) = evaluate(path, worse, f"lesions={lesions}", f"output={tmp_path}")
    assert row["lesions"]["above 1 ml"]["contrast_kept"] == pytest.approx(0.5)
    assert "contrast kept" in capsys.readouterr().out
    (row,) = evaluate(path, worse, "lesions=bright")
    assert "lesions: bright from 1.5 times the median" in capsys.readouterr().out
    with pytest.raises(InputError, match="there are none"):
        evaluate(path, worse, "lesions=bright", "lesions_above=2.5")
    with pytest.raises(InputError, match="must be above 1"):
        evaluate(path, worse, "lesions=bright", "lesions_above=0.9")
    assert row["lesions"]
    speck = np.zeros(bright.shape, np.uint8)
    speck[40, 40, 20] = 1
    (row,) = evaluate(path, worse, f"lesions={write_scan(tmp_path / 'speck.nii.gz', speck, AFFINE)}")
    assert row["lesions"] == {} and row["lesions_left_out"] == 1
    assert "1 lesions below 0.03 ml" in capsys.readouterr().out
    other = write_scan(tmp_path / "other.nii.gz", bright[:-1].astype(np.uint8), AFFINE)
    with pytest.raises(InputError, match="voxels of the truth"):
        evaluate(path, worse, f"lesions={other}")
    none = write_scan(tmp_path / "none.nii.gz", (0 * bright).astype(np.uint8), AFFINE)
    with pytest.raises(InputError, match="there are none"):
        evaluate(path, worse, f"lesions={none}")
