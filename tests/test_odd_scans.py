"""Scans that are odd in one way, from file to file: what is written is what the same scan without it would give."""

import json

import nibabel as nib
import numpy as np
import pytest

from focvs.errors import InputError
from focvs.pipeline import super_resolve
from runs import reread, settings
from scans import write_scan

WORDS = ("thickness=5", "noise=10")


def restored(scan, out, prior, *words):
    paths = super_resolve(settings(scan, out, prior, *WORDS, *words))
    return paths, json.loads(paths["json"].read_text())


@pytest.fixture
def magnitudes(thick_scan):
    """The scan in whole numbers, none of them negative."""
    image = nib.load(thick_scan)
    data = np.abs(np.asarray(image.dataobj)).round().astype(np.float32)
    return write_scan(thick_scan, data, image.affine), data, image.affine


def test_a_constant_taken_off_a_scan_is_taken_off_its_result(tmp_path, magnitudes, tiny_prior):
    _, data, affine = magnitudes
    first, second = (
        write_scan(tmp_path / f"{level}.nii.gz", data + np.float32(level), affine) for level in (-2000, -5000)
    )
    paths, report = restored(first, tmp_path / "out", tiny_prior)
    other, _ = restored(second, tmp_path / "out", tiny_prior)
    assert report["acquisition"]["background"] == pytest.approx(-2000, abs=60)
    assert np.allclose(reread(paths["mean"]) - 3000, reread(other["mean"]), atol=0.05)
    assert np.allclose(reread(paths["std"]), reread(other["std"]), atol=0.05)
    assert report["consistency"]["relative_residual"] <= 1e-5


def test_slices_that_were_not_measured_take_no_part(tmp_path, magnitudes, tiny_prior):
    scan, data, affine = magnitudes
    paths, report = restored(scan, tmp_path / "out", tiny_prior, "exclude=[5]", "nonnegative=false")
    assert report["acquisition"]["missing_slices"] == [5]
    assert report["consistency"]["relative_residual"] <= 1e-5
    changed = data.copy()
    changed[..., 5] = 900
    other = write_scan(tmp_path / "scan.nii.gz", changed, affine)
    again, _ = restored(other, tmp_path / "other", tiny_prior, "exclude=[5]", "nonnegative=false")
    assert np.array_equal(reread(paths["mean"]), reread(again["mean"]))
    empty = data.copy()
    empty[..., 5] = 0
    found, report = restored(write_scan(tmp_path / "empty.nii.gz", empty, affine), tmp_path, tiny_prior)
    assert report["acquisition"]["missing_slices"] == [5] and any("slice 5" in w for w in report["warnings"])
    tissue = data[..., 5] > 300
    assert np.median(reread(found["mean"])[tissue][:, 27:32]) > 200  # no black band
    with pytest.raises(InputError, match="consistency=ddrm cannot leave out"):
        restored(other, tmp_path / "other", tiny_prior, "exclude=[5]", "consistency=ddrm", "sampler=ddpm")


def test_nothing_is_below_zero_that_the_scan_can_do_without(tmp_path, magnitudes, tiny_prior):
    scan, data, _ = magnitudes
    lowest = {}
    for wanted in ("false", "auto", "true"):
        paths, report = restored(scan, tmp_path / wanted, tiny_prior, f"nonnegative={wanted}", "save_samples=true")
        lowest[wanted] = min(float(reread(paths[name]).min()) for name in ("mean", "q05", "sample-01"))
        assert (report["consistency"]["relative_residual"] <= 1e-5) == (wanted != "true")
        assert report["consistency"]["lowest"] == pytest.approx(float(reread(paths["mean"]).min()), abs=1e-3)
    white = float(np.percentile(data, 99.5))
    assert lowest["false"] < -0.05 * white and lowest["auto"] > 0.3 * lowest["false"] and lowest["true"] >= 0


def test_isotropic_voxels_and_whole_numbers(tmp_path, magnitudes, tiny_prior):
    scan, data, affine = magnitudes
    words = ("isotropic=1.5", "dtype=int16", "save_samples=true", "nonnegative=true")
    paths, report = restored(scan, tmp_path / "out", tiny_prior, *words)
    for name in ("mean", "std", "q95", "sample-01"):
        image = nib.load(paths[name])
        assert image.get_data_dtype() == np.int16 and image.header.get_zooms() == pytest.approx((1.5, 1.5, 1.5))
        middles = [(np.array(s) - 1) / 2 for s in (image.shape, data.shape)]
        assert image.affine[:3] @ [*middles[0], 1] == pytest.approx(affine[:3] @ [*middles[1], 1], abs=1e-3)
    assert reread(paths["mean"]).min() >= 0  # splines overshoot; what is written does not
    assert report["consistency"]["lowest"] == 0  # of the volume before
    assert float(nib.load(paths["mean"]).header["cal_max"]) == pytest.approx(
        np.percentile(data[data > 100], 99.5), rel=0.1
    )
    with pytest.raises(InputError, match="isotropic=80 mm"):
        restored(scan, tmp_path / "none", tiny_prior, "isotropic=80")
    assert not (tmp_path / "none").exists()
