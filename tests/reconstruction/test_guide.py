"""A guide: aligned, on the voxels of the volume, refused where it is of another head, looked at by the last stage."""

import json
import shutil
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from scipy.spatial.transform import Rotation

from focvs.acquisition.guided_filter import AIR
from focvs.acquisition.profile import gaussian_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.acquisition.tissue_head import tissue_head
from focvs.cli import main
from focvs.commands.overrides import compose, quote
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.reconstruction.guide import LEAST_LIKENESS, Guide, open_guide
from focvs.scan.registration import register_rigidly
from focvs.scan.scan import read_scan
from runs import guided_prior, mean_prior
from scans import write_scan

SHAPE, VOXEL = (76, 92, 60), 2.4
MOTION = np.eye(4)
MOTION[:3, :3] = Rotation.from_euler("xyz", (2, -3, 2), degrees=True).as_matrix()
MOTION[:3, 3] = (3, -2, 2)


def placed(shape, columns):
    affine = np.diag([*columns, 1.0])
    affine[:3, 3] = -(np.array(shape) - 1) / 2 * np.array(columns)
    return affine


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A FLAIR of 7.2 mm slices, T1w images of the same head and of another one, and a prior with a guided stage."""
    folder = tmp_path_factory.mktemp("guides")
    flair = tissue_head("FLAIR", 0, SHAPE, VOXEL, texture_seed=2)[1]
    slices = simulate_slices(1000 * flair, VOXEL, gaussian_profile(7.2), 7.2)
    write_scan(folder / "flair.nii.gz", slices, placed(slices.shape, (VOXEL, VOXEL, 7.2)))
    for name, seed in (("t1", 0), ("other", 5)):
        image = 500 * tissue_head("T1w", seed, SHAPE, VOXEL, texture_seed=1)[1]
        write_scan(folder / f"{name}.nii.gz", image, MOTION @ placed(SHAPE, (VOXEL,) * 3))
    write_scan(
        folder / "aligned.nii.gz",
        500 * tissue_head("T1w", 0, SHAPE, VOXEL, texture_seed=1)[1],
        placed(SHAPE, (VOXEL,) * 3),
    )
    far = placed(SHAPE, (VOXEL,) * 3)
    far[0, 3] += 400
    write_scan(folder / "far.nii.gz", 500 * tissue_head("T1w", 0, SHAPE, VOXEL)[1], far)
    write_scan(folder / "flat.nii.gz", np.ones(SHAPE, np.float32), far)
    guided_prior(folder / "prior")
    mean_prior(folder / "unguided")
    return folder


def settings(folder, *words, prior="prior"):
    given = [f"scan={quote(str(folder / 'flair.nii.gz'))}", "thickness=7.2", "precision=float32", "progress=false"]
    given += ["figure=false", "report=false", f"prior.path={quote(str(folder / prior))}", *words]
    return OmegaConf.to_object(compose("config", given))


def opened(folder, name, *words):
    return open_guide(
        settings(folder, f"guide={quote(str(folder / name))}", *words), read_scan(folder / "flair.nii.gz"), 7.2
    )


def test_another_contrast_is_aligned(folder):
    guide = opened(folder, "t1.nii.gz")
    corners = np.array([(x, y, z, 1) for x in (-60, 60) for y in (-70, 70) for z in (-50, 50)])
    missed = np.linalg.norm((corners @ (np.linalg.inv(MOTION) @ guide.moved).T - corners)[:, :3], axis=1)
    assert missed.max() < 3.6  # mm at the corners, of voxels of 2.4 and slices of 7.2
    assert guide.overlap > 0.9 and guide.likeness > LEAST_LIKENESS
    assert guide.rotation_deg == pytest.approx(4.1, abs=1.0)
    assert np.array_equal(opened(folder, "t1.nii.gz").moved, guide.moved)


def test_a_folder_of_dicom_files_is_converted_and_read(folder, tmp_path):
    pytest.importorskip("pydicom")
    pytest.importorskip("dcm2niix")
    from pydicom.uid import generate_uid

    from dicom_files import write_slice

    image = nib.load(folder / "aligned.nii.gz")
    data = np.asarray(image.dataobj).clip(0).astype(np.uint16)
    corner = (image.affine @ [*(np.array(SHAPE) - 1)[:2], 0, 1])[:3]  # right, front: first in the patient's coordinates
    tags = {"PixelSpacing": [VOXEL, VOXEL], "SliceThickness": VOXEL, "SpacingBetweenSlices": VOXEL}
    (series := tmp_path / "dicom").mkdir()
    uids = tuple(generate_uid() for _ in range(3))
    for k in range(SHAPE[2]):
        where = (-corner[0], -corner[1], float(image.affine[2, 3] + k * VOXEL))
        pixels = data[::-1, ::-1, k].T.copy()
        write_slice(series / f"{k:03d}.dcm", pixels, where, series=uids, number=k + 1, **tags)
    left = []
    words = [f"guide={quote(str(series))}", f"output_dir={quote(str(tmp_path / 'out'))}", "align=headers"]
    guide = open_guide(settings(folder, *words), read_scan(folder / "flair.nii.gz"), 7.2, left)
    assert guide.path == tmp_path / "out" / "guide" / "dicom.nii.gz" and guide.path in left
    expected = opened(folder, "aligned.nii.gz", "align=headers").on(SHAPE, image.affine)
    assert float((guide.on(SHAPE, image.affine) - expected).abs().median()) < 0.01
    assert guide.overlap > 0.9
    with pytest.raises(InputError, match="give an output folder as well"):
        open_guide(settings(folder, words[0], "align=headers"), read_scan(folder / "flair.nii.gz"), 7.2)


def test_a_start_is_taken(folder):
    scan, guide = read_scan(folder / "flair.nii.gz"), opened(folder, "aligned.nii.gz", "align=headers")
    away = np.eye(4)
    away[:3, 3] = (0, 0, 12)
    shifted = replace(guide, affine=away @ guide.affine)
    found = register_rigidly(scan, shifted, other_contrast=True, start=away)
    assert found[:3, 3] == pytest.approx((0, 0, 12), abs=2.4)


def test_it_comes_onto_other_voxels_with_air_beyond(folder):
    guide = opened(folder, "aligned.nii.gz", "align=headers")
    same = guide.on(SHAPE, guide.affine)
    expected = 2 * guide.data / guide.white - 1
    assert np.allclose(same.numpy(), expected, atol=2e-2)  # its own voxels, by splines in single precision
    moved = guide.affine.copy()
    moved[0, 3] -= 10 * VOXEL
    beside = guide.on(SHAPE, moved)
    assert (beside[:9] == AIR).all() and np.allclose(beside[10:].numpy(), same[:-10].numpy(), atol=1e-3)
    coarse = np.diag([2.0, 2.0, 2.0, 1.0])
    coarse[:3, 3] = 0.5
    blurred = guide.on([n // 2 for n in SHAPE], guide.affine @ coarse)
    assert float(blurred[4:-4, 4:-4, 4:-4].std()) < float(same.std())


def test_another_head_is_refused_and_so_is_one_elsewhere(folder):
    with pytest.raises(InputError, match=r"own mirror image .* of the same head"):
        opened(folder, "other.nii.gz")
    with pytest.raises(InputError, match=r"shows 0 % of the head"):
        opened(folder, "far.nii.gz", "align=headers")
    with pytest.raises(InputError, match="is constant"):
        opened(folder, "flat.nii.gz")


@pytest.fixture(scope="module")
def restored(folder):
    """Volumes and JSON with a guide and without one."""

    def run(name, *words):
        paths = super_resolve(settings(folder, f"output_dir={quote(str(folder / name))}", *words))
        return nib.load(paths["mean"]).get_fdata(), json.loads(paths["json"].read_text()), paths.get("std")

    guide = f"guide={quote(str(folder / 'aligned.nii.gz'))}"
    return {
        "alone": run("alone"),
        "guided": run("guided", guide, "align=headers"),
        "filtered": run("filtered", guide, "align=headers", "method=guided_filter"),
        "spline": run("s", "method=replaced"),
    }


def test_the_last_stage_looks_at_it_and_the_scan_is_still_reproduced(restored):
    (alone, *_), (guided, report, _) = restored["alone"], restored["guided"]
    assert not np.allclose(alone, guided, atol=1e-3 * alone.max())
    assert report["consistency"]["relative_residual"] <= 1e-5
    assert report["guide"]["overlap"] > 0.9 and len(report["guide"]["weights_sha256"]) == 64
    assert restored["alone"][1]["guide"] is None


def test_the_deviation_looks_at_it_too(restored, folder, tmp_path):
    """With the same guided mean, the map of its error is another one where the deviation is told of the guide."""
    prior = shutil.copytree(folder / "prior", tmp_path / "prior")
    shutil.rmtree(prior / "guided" / "deviation")
    guide = f"guide={quote(str(folder / 'aligned.nii.gz'))}"
    words = [f"output_dir={quote(str(tmp_path / 'out'))}", guide, "align=headers"]
    paths = super_resolve(settings(folder, *words, prior=str(prior)))
    guided, report, std = restored["guided"]
    assert np.array_equal(nib.load(paths["mean"]).get_fdata(), guided)
    unheard = nib.load(paths["std"]).get_fdata()
    assert not np.allclose(unheard, nib.load(std).get_fdata(), rtol=0.01)
    assert report["guide"]["weights_sha256"] != json.loads(paths["json"].read_text())["guide"]["weights_sha256"]


def test_a_guided_filter_is_nearer_to_the_truth_and_reproduces_the_scan(restored):
    truth = 1000 * tissue_head("FLAIR", 0, SHAPE, VOXEL, texture_seed=2)[0]
    inner = (slice(12, -12),) * 3
    errors = {
        name: np.abs(restored[name][0] - truth[..., : restored[name][0].shape[-1]])[inner].mean()
        for name in ("filtered", "spline")
    }
    assert errors["filtered"] < 0.9 * errors["spline"]
    assert restored["filtered"][1]["consistency"]["relative_residual"] <= 1e-5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["guide=none.nii.gz"], "is not there; give an image file, or a folder of DICOM files"),
        (["guide={scan}"], "is the scan itself"),
        (["guide={t1}", "method=spline"], "looks at no guide"),
        (["method=guided_filter"], "needs guide="),
        (["guide={t1}", "quality=fast"], "leave out quality=fast"),
        (["guide={t1}", "prior.path={unguided}"], "has not; leave out prior="),
    ],
)
def test_what_cannot_be_guided_is_one_sentence(folder, tmp_path, capsys, words, said):
    names = {"scan": folder / "flair.nii.gz", "t1": folder / "aligned.nii.gz", "unguided": folder / "unguided"}
    given = [word.format(**names) for word in words]
    if not any(word.startswith("prior.path") for word in given):
        given.append(f"prior.path={folder / 'prior'}")
    assert main([str(folder / "flair.nii.gz"), str(tmp_path / "out"), "thickness=7.2", *given]) == 1
    err = capsys.readouterr().err
    assert said in err and len(err.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_another_head_leaves_no_folder(folder, tmp_path, capsys):
    words = [f"guide={folder / 'other.nii.gz'}", f"prior.path={folder / 'prior'}", "thickness=7.2"]
    assert main([str(folder / "flair.nii.gz"), str(tmp_path / "out"), *words]) == 1
    assert "own mirror image" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_guide_that_has_changed_is_not_reproduced(folder, tmp_path, capsys, caplog):
    guide = tmp_path / "t1.nii.gz"
    shutil.copy(folder / "aligned.nii.gz", guide)
    words = [f"guide={guide}", "method=guided_filter", "thickness=7.2", "figure=false", "report=false"]
    assert main([str(folder / "flair.nii.gz"), str(tmp_path / "out"), *words]) == 0
    result = str(tmp_path / "out" / "flair_guided_filter.json")
    assert main(["reproduce", result]) == 0 and "the same to the bit" in caplog.text
    image = nib.load(guide)
    write_scan(guide, 1.01 * image.get_fdata().astype(np.float32), image.affine)
    assert main(["reproduce", result]) == 1
    assert "is not the guide of flair_guided_filter.json" in capsys.readouterr().err


def test_a_thick_guide_is_said(folder):
    assert "helps where its voxels are small" in opened(folder, "t1.nii.gz").warnings[-1]  # its voxels have 2.4 mm


def test_units_of_a_guide():
    guide = Guide(
        None, np.linspace(0, 1, 4000, dtype=np.float32).reshape(10, 20, 20), np.diag([1, 1.5, 2, 1]), np.eye(4)
    )
    assert guide.voxel_mm == (1.0, 1.5, 2.0)
    assert guide.translation_mm == pytest.approx(np.zeros(3)) and guide.rotation_deg == 0
    assert torch.isfinite(guide.on((10, 20, 20), guide.affine)).all()
