"""focvs calibrate: a table for any prior, from volumes, found again beside the weights."""

import shutil

import nibabel as nib
import numpy as np
import pytest
import torch

from focvs.cli import main
from focvs.commands.calibrate import _measure
from focvs.config import checkpoints_dir
from focvs.priors.error_table import CALIBRATION, ErrorTable
from focvs.priors.pretrained import load_prior
from focvs.priors.prior import Prior
from networks_by_hand import bundle, definition, monai_network
from runs import mean_prior

DDPM = {"noise_scheduler": {"_target_": "DDPMScheduler"}}


@pytest.fixture
def volumes(tmp_path, phantom):
    folder = tmp_path / "volumes"
    (folder / "more").mkdir(parents=True)
    nib.save(nib.Nifti1Image(phantom[1], np.diag([1.0, 1.0, 1.0, 1.0])), folder / "head.nii.gz")
    nib.save(nib.Nifti1Image(phantom[1], np.diag([1.0, 1.1, 1.0, 1.0])), folder / "more" / "head.nii.gz")
    return folder


def test_a_table_is_measured_and_found_again(tmp_path, volumes, tiny_prior, capsys):
    prior = tmp_path / "prior"
    shutil.copytree(tiny_prior, prior)
    assert main(["calibrate", str(volumes), f"path={prior}", "levels=4", "slices=1"]) == 0
    table = load_prior(prior).errors
    assert table is not None
    assert table.sigmas.tolist() == pytest.approx(sorted(table.sigmas.tolist()))
    assert (float(table.sigmas[0]), float(table.sigmas[-1])) == (pytest.approx(0.01), pytest.approx(1.6))
    rms = table.variance.mean(1).sqrt()
    assert rms[0] < 0.02  # an untrained network still knows that little noise is little
    assert (rms.diff() > 0).all()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_bundle_is_calibrated_and_still_loads(tmp_path, volumes, dimensions):
    """Its table lies among the weights, and is not taken for them."""
    folder = bundle(tmp_path / "bundle", monai_network(dimensions), definition(dimensions) | DDPM, weights="unet.pt")
    small = tmp_path / "small.nii.gz"
    head = np.asarray(nib.load(volumes / "head.nii.gz").dataobj)[8:48, 10:54, 10:50]
    nib.save(nib.Nifti1Image(head, np.eye(4)), small)
    words = ["calibrate", str(small), "prior=monai", f"path={folder}", "levels=2", "slices=1"]
    assert main(words) == 0
    shutil.copy(folder / "models" / f"unet.{CALIBRATION}", folder / "models" / "another.safetensors")
    prior = load_prior(folder, kind="monai")
    assert prior.path.name == "unet.pt" and prior.errors is not None
    assert torch.isfinite(prior.errors.variance).all()


def test_a_fixed_field_of_view_is_cropped_to_the_head(tmp_path):
    """A network that knows the head exactly errs by nothing, though its field is smaller than the volume and the head,
    and what it does not see stays as noisy as it was.
    """
    data = np.zeros((90, 70, 60), dtype=np.float32)
    data[40:86, 15:55, 8:52] = 100
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 1.0, 1.0, 1.0])), tmp_path / "block.nii.gz")
    prior = Prior(lambda x, _: torch.ones_like(x), None, "", tmp_path, dimensions=3, axes="LPS", shape=(40, 36, 40))
    table = _measure(prior, tmp_path / "block.nii.gz", torch.tensor([0.5]), 1, "cpu")
    assert float(table.variance.max()) < 1e-8


def test_an_output_of_ones_own(tmp_path, volumes, tiny_prior):
    out = tmp_path / "tables" / "mine.safetensors"
    words = ["calibrate", str(volumes / "head.nii.gz"), f"path={tiny_prior}", "levels=2", "slices=1", f"output={out}"]
    assert main(words) == 0
    assert torch.isfinite(ErrorTable.load(out).variance).all()
    assert not (tiny_prior / CALIBRATION).exists()
    assert [p.name for p in out.parent.iterdir()] == [out.name]


def test_the_shipped_prior_is_not_written_to_unless_told(volumes, capsys):
    shipped = checkpoints_dir() / "head2d"
    before = {path.name: path.read_bytes() for path in shipped.iterdir()}
    assert main(["calibrate", str(volumes), "levels=2", "slices=1"]) == 1
    assert "give output=" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in shipped.iterdir()} == before


def test_thick_volumes_are_left_out_by_name(tmp_path, volumes, tiny_prior, caplog, capsys):
    thick = volumes / "more" / "thick.nii.gz"
    data = np.random.default_rng(0).uniform(1, 2, (40, 40, 12)).astype(np.float32)
    nib.save(nib.Nifti1Image(data, np.diag([1.0, 1.0, 4.0, 1.0])), thick)
    words = [f"path={tiny_prior}", f"output={tmp_path / 'table.safetensors'}", "levels=2", "slices=1"]
    assert main(["calibrate", str(volumes), *words]) == 0
    assert "thick.nii.gz is left out: its voxels of 1 x 1 x 4 mm" in caplog.text
    assert main(["calibrate", str(thick), *words]) == 1
    assert "could be calibrated on" in capsys.readouterr().err


def test_a_prior_in_use_notices_its_new_table(tmp_path, volumes, tiny_prior):
    prior = tmp_path / "prior"
    shutil.copytree(tiny_prior, prior)
    assert load_prior(prior).errors is None
    for levels in (2, 3):
        assert main(["calibrate", str(volumes), f"path={prior}", f"levels={levels}", "slices=1"]) == 0
        assert len(load_prior(prior).errors.sigmas) == levels


def test_refusals(tmp_path, volumes, tiny_prior, capsys):
    (tmp_path / "empty").mkdir()
    cases = {
        "no NIfTI file": [str(tmp_path / "empty")],
        "at least 2": [str(volumes), "levels=1"],
        "could be calibrated on": [str(broken(tmp_path))],
        "is missing": [str(volumes), "prior.path=/nowhere"],
    }
    for message, words in cases.items():
        assert main(["calibrate", f"path={tiny_prior}", "output=" + str(tmp_path / "t.safetensors"), *words]) == 1
        assert message in capsys.readouterr().err
    assert not (tmp_path / "t.safetensors").exists()
    (tmp_path / "file").touch()
    assert main(["calibrate", f"path={tiny_prior}", f"output={tmp_path}/file/t.safetensors", str(volumes)]) == 1
    said = capsys.readouterr().err
    assert "cannot be written" in said and "rms error" not in said  # before anything is measured
    assert main(["calibrate"]) == 2


def broken(folder):
    path = folder / "broken.nii"
    path.write_bytes(b"not an image")
    return path


def test_a_mean_has_no_table_of_errors(tmp_path, volumes, capsys):
    mean_prior(tmp_path / "mean")
    assert main(["calibrate", str(volumes), f"path={tmp_path / 'mean'}"]) == 1
    assert "gives a mean" in capsys.readouterr().err
