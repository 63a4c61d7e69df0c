"""FOCVS from Python: the same volumes as the command writes, from files, images and arrays, in memory."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
import torch

import focvs
from focvs.commands.overrides import UsageError
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from runs import reread, settings

QUICK = {"quality": "samples", "samples": 2, "steps": 2, "precision": "float32"}


def test_a_path_an_image_and_an_array_give_what_the_command_writes(tmp_path, thick_scan, tiny_prior):
    paths = super_resolve(settings(thick_scan, tmp_path / "out", tiny_prior, "thickness=5"))
    options = {**QUICK, "prior": {"path": str(tiny_prior)}}
    image = nib.load(thick_scan)
    before = sorted(tmp_path.rglob("*"))
    for given in (thick_scan, str(thick_scan), image, (np.asarray(image.dataobj), image.affine)):
        result = focvs.restore(given, 5, **options)
        np.testing.assert_array_equal(result.mean.get_fdata(), reread(paths["mean"]))
        np.testing.assert_array_equal(result.q95.get_fdata(), reread(paths["q95"]))
        np.testing.assert_allclose(result.mean.affine, nib.load(paths["mean"]).affine, atol=1e-5)
    assert sorted(tmp_path.rglob("*")) == before  # nothing is left behind
    assert result.report["acquisition"]["thickness_mm"] == 5 and result.samples == [] and result.page is None
    assert isinstance(result.warnings, list)


def test_progress_samples_and_the_page(thick_scan, tiny_prior):
    seen = []
    options = {**QUICK, "prior": {"path": str(tiny_prior)}, "save_samples": True}
    result = focvs.restore(thick_scan, 5, progress=seen.append, page=True, **options)
    assert seen == sorted(seen) and seen[-1] == pytest.approx(1) and len(seen) > 2
    assert len(result.samples) == 2 and result.page.startswith("<!doctype html>")
    spread = np.std([sample.get_fdata() for sample in result.samples], axis=0, ddof=1)
    np.testing.assert_allclose(result.std.get_fdata(), spread, atol=1e-3)


def test_what_is_wrong_is_said(thick_scan):
    with pytest.raises(UsageError, match="did you mean spacing"):
        focvs.restore(thick_scan, spcing=5)
    with pytest.raises(InputError, match="an image is a path, a nibabel image, or an array"):
        focvs.restore(np.zeros((3, 3, 3)))
    with pytest.raises(InputError, match="does not exist"):
        focvs.restore("missing.nii.gz")
    with pytest.raises(AttributeError, match="no attribute 'restor'"):
        focvs.restor  # noqa: B018


def test_a_scan_is_simulated_restored_and_scored(phantom):
    affine = np.diag([1.2, 1.2, 1.2, 1.0])
    head = nib.Nifti1Image((1000 * phantom[0]).astype(np.float32), affine)
    scan = focvs.simulate(head, 5, spacing=6, noise=0.01)
    assert scan.shape[2] == 12 and scan.header.get_zooms()[2] == pytest.approx(6)
    spline, replaced = (focvs.restore(scan, 5, method=method).mean for method in ("spline", "replaced"))
    scores = focvs.evaluate(head, [spline, replaced], scan=scan, thickness=5)
    assert scores[1]["psnr_db"] > scores[0]["psnr_db"] > 15
    assert scores[1]["residual"] < 1e-5 < scores[0]["residual"]
    (alone,) = focvs.evaluate(head, replaced)
    assert alone["psnr_db"] == pytest.approx(scores[1]["psnr_db"], abs=0.3) and alone["residual"] is None


def test_an_operator_has_its_laws():
    forward = focvs.operator(slices=12, spacing_mm=6, thickness_mm=5, voxel_mm=1.2, profile="slr")
    volume = torch.rand(3, 60, dtype=torch.float64)
    assert forward(volume).shape == (3, 12)
    torch.testing.assert_close(forward(torch.ones(1, 60).double()), torch.ones(1, 12).double())
    held = forward.replace(volume, 2 * forward(volume))
    torch.testing.assert_close(forward(held), 2 * forward(volume))
    with pytest.raises(ValueError, match="profile=square is not known"):
        focvs.operator(12, 6, 5, 1.2, profile="square")


def test_import_is_light():
    words = "import sys, focvs; dir(focvs); assert 'torch' not in sys.modules and 'nibabel' not in sys.modules"
    subprocess.run([sys.executable, "-c", words], check=True)
