"""focvs evaluate: numbers that are known in advance, grids that differ, and the files it leaves."""

import csv
import json

import nibabel as nib
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from evaluations import evaluate
from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.cli import main
from focvs.errors import InputError
from focvs.scan.head import head_mask
from focvs.scan.units import white_level
from scans import write_scan

AFFINE = np.diag([1.2, 1.2, 1.2, 1.0])


def test_the_truth_and_a_brighter_one(tmp_path, truth, phantom, capsys):
    brighter = write_scan(tmp_path / "brighter, by a tenth.nii.gz", (1100 * phantom[0]).astype(np.float32), AFFINE)
    same, other = evaluate(truth, truth, brighter, f"output={tmp_path / 'out'}")
    assert (
        same["psnr_db"] is None
        and same["ssim"] == pytest.approx(1)
        and same["nrmse"] == same["hfen"] == same["mae"] == 0
    )
    assert other["nrmse"] == pytest.approx(0.1, rel=1e-3) and other["hfen"] == pytest.approx(0.1, rel=1e-3)
    assert other["sharpness"] == pytest.approx(1.1, rel=1e-3) and other["spectrum"] == pytest.approx(1.21, rel=1e-3)
    assert same["residual"] is None and not other["resampled"]
    printed = capsys.readouterr().out
    assert "head" in printed and "brighter, by a tenth" in printed
    with (tmp_path / "out" / "evaluation.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["estimate"] for row in rows] == ["truth", "brighter, by a tenth"]
    assert float(rows[1]["nrmse"]) == other["nrmse"]
    assert list(rows[0])[-2:] == ["resampled", "path"]
    content = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert content["estimates"][1]["psnr_db"] == other["psnr_db"] and "scale" in content["definitions"]


def test_the_residual_is_that_of_the_estimates_own_slices(tmp_path, truth, phantom):
    profile = gaussian_profile(4.8)
    grid = make_grid(12, 6.0, 1.2, profile.half_support_mm)
    volume = torch.from_numpy(1000 * phantom[0]).double()
    assert grid.voxels == volume.shape[-1]
    slices = ThroughPlaneOperator(profile, grid, "edge")(volume).float().numpy()
    scan_affine = AFFINE.copy()
    scan_affine[2, 2], scan_affine[2, 3] = 6.0, 2.4
    scan = write_scan(tmp_path / "scan.nii.gz", slices, scan_affine)
    wrong = write_scan(tmp_path / "wrong.nii.gz", (1010 * phantom[0]).astype(np.float32), AFFINE)
    coarse = write_scan(
        tmp_path / "coarse.nii.gz", (1000 * phantom[0][..., ::2]).astype(np.float32), AFFINE * [1, 1, 2, 1]
    )
    exact, off, other = evaluate(truth, truth, wrong, coarse, f"scan={scan}", "thickness=4.8", "profile=gaussian")
    assert exact["residual"] < 1e-6
    assert off["residual"] == pytest.approx(0.01 * slices.max() / np.ptp(slices), rel=1e-3)
    assert other["residual"] is None and other["resampled"]
    slices[..., 5] *= 1.5
    brighter = write_scan(tmp_path / "brighter.nii.gz", slices, scan_affine)
    words = (f"scan={brighter}", "thickness=4.8", "profile=gaussian", "slice_gains=off")
    (with_it,), (without,) = (evaluate(truth, truth, *words, *more) for more in ((), ("exclude=[5]",)))
    assert with_it["residual"] > 0.1 and without["residual"] < 1e-6


def test_other_grids_are_resampled_and_other_places_refused(tmp_path, truth, phantom):
    halved = nib.load(truth)
    fine = nib.processing.resample_to_output(halved, (0.9, 0.9, 0.9), order=3)
    nib.save(fine, tmp_path / "fine.nii.gz")
    (row,) = evaluate(truth, tmp_path / "fine.nii.gz")
    assert row["resampled"] and row["psnr_db"] > 25
    far = AFFINE.copy()
    far[:3, 3] = 1000
    moved = write_scan(tmp_path / "far.nii.gz", np.asarray(halved.dataobj), far)
    with pytest.raises(InputError, match="does not overlap the truth"):
        evaluate(truth, moved)


def test_what_an_estimate_does_not_cover_counts_for_none(tmp_path, truth, phantom, caplog):
    part = AFFINE.copy()
    part[2, 3] += 20 * 1.2
    half = write_scan(tmp_path / "half.nii.gz", (1000 * phantom[0][..., 20:]).astype(np.float32), part)
    whole, covered = evaluate(truth, truth, half)
    assert covered["resampled"] and covered["nrmse"] < 1e-5 and whole["psnr_db"] is None
    assert "not covered by every estimate" in caplog.text


def test_what_is_odd_about_an_estimate_is_said(tmp_path, truth, phantom, caplog):
    broken = (1000 * phantom[1]).astype(np.float32)
    broken[20] = np.nan
    (row,) = evaluate(truth, write_scan(tmp_path / "broken.nii.gz", broken, AFFINE))
    assert np.isfinite(row["psnr_db"]) and "broken.nii.gz" in caplog.text and "NaN" in caplog.text


def test_estimates_of_one_name_are_told_apart(tmp_path, truth, phantom):
    paths = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        paths.append(write_scan(tmp_path / name / "scan.nii.gz", (1000 * phantom[0]).astype(np.float32), AFFINE))
    rows = evaluate(truth, *paths)
    assert [row["estimate"] for row in rows] == ["a/scan", "b/scan"] and rows[1]["path"] == str(paths[1])


def test_the_axis_is_that_of_the_scan(tmp_path, truth, phantom, capsys):
    slices = np.repeat(1000 * phantom[0][2::5], 1, 0).astype(np.float32)
    scan = write_scan(tmp_path / "sagittal.nii.gz", slices, np.diag([6.0, 1.2, 1.2, 1.0]))
    evaluate(truth, truth, f"scan={scan}")
    assert "axis: left-right" in capsys.readouterr().out


def test_volumes_too_small_for_the_window_are_refused(tmp_path):
    small = write_scan(
        tmp_path / "small.nii.gz", np.random.default_rng(0).random((8, 30, 30)).astype(np.float32), AFFINE
    )
    with pytest.raises(InputError, match="SSIM needs 11"):
        evaluate(small, small)


def test_trimmed_ends_do_not_count(tmp_path, truth, phantom):
    spoilt = 1000 * phantom[0].copy()
    spoilt[..., :12] = 0
    path = write_scan(tmp_path / "spoilt.nii.gz", spoilt.astype(np.float32), AFFINE)
    whole, trimmed = (evaluate(truth, path, f"trim={mm}")[0] for mm in (0, 16))
    assert whole["nrmse"] > 0.05 and trimmed["nrmse"] == 0
    with pytest.raises(InputError, match="nothing of the head"):
        evaluate(truth, path, "trim=500")


@pytest.mark.parametrize(
    ("words", "said", "code"),
    [
        (["evaluate"], "truth is missing", 2),
        (["evaluate", "nothing.nii.gz"], "estimates is missing", 2),
        (["evaluate", "nothing.nii.gz", "nothing.nii.gz"], "does not exist", 1),
        (["evaluate", "a.nii.gz", "b.nii.gz", "axis=up"], "choose one of left-right", 1),
        (["evaluate", "a.nii.gz", "b.nii.gz", "trim=-1"], "at least 0", 1),
    ],
)
def test_bad_requests_are_one_sentence(words, said, code, capsys):
    assert main(words) == code
    assert said in capsys.readouterr().err


def test_an_interval_beside_an_estimate_is_judged(tmp_path, truth, phantom, capsys):
    clean = 1000 * phantom[0].astype(np.float64)
    deviation = 5 + 40 * np.abs(np.sin(np.arange(clean.shape[0]) / 5))[:, None, None] * np.ones_like(clean)
    error = deviation * np.random.default_rng(0).standard_normal(clean.shape)
    for name, moved in (("", 0), ("-q05", -1.6449), ("-q95", 1.6449)):
        image = (clean + error + moved * deviation).astype(np.float32)
        write_scan(tmp_path / f"estimate{name}.nii.gz", image, AFFINE)
    (row, plain) = evaluate(truth, tmp_path / "estimate.nii.gz", truth)
    assert "interval" not in plain
    assert row["interval"]["held"] == pytest.approx(0.9, abs=0.01)
    scale = white_level(clean)
    mask = head_mask(clean.astype(np.float32), scale)
    assert row["interval"]["width"] == pytest.approx(2 * 1.6449 * deviation[mask].mean() / scale, rel=1e-3)
    rank = spearmanr(deviation[mask], np.abs(error)[mask]).statistic
    assert row["interval"]["rank_correlation"] == pytest.approx(rank, abs=1e-3)
    assert "q05 to q95" in capsys.readouterr().out
    write_scan(tmp_path / "truth-q05.nii.gz", clean.astype(np.float32), AFFINE)
    write_scan(tmp_path / "truth-q95.nii.gz", clean.astype(np.float32), AFFINE)
    assert "interval" not in evaluate(truth, truth)[0]  # of one sample
