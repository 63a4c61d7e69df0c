"""Estimates of other heads, of other places, and on other voxels."""

import numpy as np
import pytest

from evaluations import evaluate
from focvs.acquisition.phantom import head_phantom
from focvs.errors import InputError
from scans import write_scan

AFFINE = np.diag([1.2, 1.2, 1.2, 1.0])


def test_another_head_is_refused_by_name(tmp_path, truth):
    """It used to have 9.84 dB and exit code 0."""
    smaller = np.pad(head_phantom((48, 58, 50), seed=9)[0], ((2, 6), (4, 2), (6, 4)))
    other = write_scan(tmp_path / "other.nii.gz", (1000 * smaller).astype(np.float32), AFFINE)
    with pytest.raises(InputError, match=r"other\.nii\.gz does not show the head of the truth.*correlation"):
        evaluate(truth, other)


def test_a_head_that_lies_elsewhere_is_refused(tmp_path, truth, phantom):
    moved = write_scan(tmp_path / "moved.nii.gz", 1000 * np.roll(phantom[0], 9, axis=2).astype(np.float32), AFFINE)
    with pytest.raises(InputError, match="or shows it elsewhere"):
        evaluate(truth, moved)


@pytest.mark.parametrize("width", [2.0, 4.0])
def test_a_blurred_and_noisy_estimate_is_still_of_its_head(tmp_path, truth, phantom, width):
    from scipy import ndimage

    blurred = ndimage.gaussian_filter1d(1000 * phantom[0], width, axis=2)
    noisy = blurred + np.random.default_rng(0).normal(0, 50, blurred.shape)
    (row,) = evaluate(truth, write_scan(tmp_path / "worse.nii.gz", noisy.astype(np.float32), AFFINE))
    assert 10 < row["psnr_db"] < 30
