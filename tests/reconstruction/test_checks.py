import pytest

import runs
from focvs.cli import main
from focvs.errors import InputError
from focvs.pipeline import super_resolve
from focvs.reconstruction.checks import check_options
from stacked import settings


def test_spectral_rules_take_one_stack(tmp_path, axial, sagittal, tiny_prior):
    config = settings(axial, [sagittal], tmp_path / "out", tiny_prior, "sampler=ddpm", "consistency=ddrm")
    with pytest.raises(InputError, match="restores one stack"):
        super_resolve(config)
    assert not (tmp_path / "out").exists()


def test_a_missing_stack_is_one_sentence(tmp_path, axial, capsys):
    assert main([str(axial), str(tmp_path / "none.nii.gz"), str(tmp_path / "out"), "thickness=3.6"]) == 1
    assert "none.nii.gz does not exist" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_samples_that_are_saved_have_to_be_drawn(thick_scan, tmp_path, capsys):
    assert main([str(thick_scan), str(tmp_path / "out"), "save_samples=true"]) == 1
    assert "give samples= at least 1" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("words", [["prior.patch=[32,32]"], ["prior.overlap=1"], ["prior.patch=[0,32,32]"]], ids=str)
def test_impossible_patches_are_refused(thick_scan, words):
    with pytest.raises(InputError, match="cannot be"):
        check_options(runs.settings(thick_scan, None, "unused", "prior=monai", *words))


def test_a_folder_as_guide_needs_an_output_folder(thick_scan, tmp_path):
    (folder := tmp_path / "series").mkdir()
    with pytest.raises(InputError, match="series is a folder of DICOM files: give an output folder as well"):
        check_options(runs.settings(thick_scan, None, "unused", f"guide={folder}"))
