import subprocess
import sys

import pytest
from omegaconf import OmegaConf

from command_line import quick, run
from focvs import __version__


def test_help_version_and_configuration(capsys):
    assert run(capsys, "--version") == (0, f"focvs {__version__}\n", "")
    code, out, _ = run(capsys, "--help")
    assert code == 0
    assert "exit codes" in out
    assert run(capsys)[0] == 2
    code, out, _ = run(capsys, "--cfg", "job", "a.nii.gz", "thickness=5")
    assert code == 0
    assert OmegaConf.create(out).thickness == 5
    assert OmegaConf.create(out).scan == "a.nii.gz"
    code, out, _ = run(capsys, "--cfg", "job", "simulate", "a.nii.gz", "b.nii.gz")
    assert OmegaConf.create(out).output == "b.nii.gz"


@pytest.mark.parametrize("words", ["--help", "--version", "--cfg job", "missing.nii.gz out"])
def test_quick_answers_import_nothing_heavy(words):
    code = (
        "import sys; from focvs.cli import main; main(sys.argv[1:]);"
        "heavy = {'torch', 'diffusers', 'monai', 'nibabel', 'scipy', 'matplotlib'} & set(sys.modules);"
        "sys.exit(', '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code, *words.split()], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x.nii", "thickness=abc"], "thickness=abc is not accepted; give a number"),
        (["x.nii", "final_replacement=maybe"], "final_replacement=maybe is not accepted; give true, false or auto"),
        (["x.nii", "thickness=true"], "thickness=True is not accepted; give a number"),
        (["x.nii", "thickness=[]"], "give a number or estimate"),
        (["x.nii", "voxel=[4]"], "give a number or auto"),
        (["x.nii", "thickness=3,5"], "write thickness=3.5 for a decimal number, or add -m"),
        (["x.nii", "seed=a,b"], "add -m to run one job for each"),
        (["x.nii", "thickness", "=", "4"], "written without blanks, thickness=4"),
        (["x.nii", "thickness=", "4"], "written without blanks, thickness=4"),
        (["x.nii", "thickness", "=4"], "written without blanks, thickness=4"),
        (["x.nii", "--thickness", "4"], "keys have no dashes, write thickness=VALUE"),
        (["x.nii", "--slice-gains=off"], "write slice_gains=off"),
        (["x.nii", "--outptu", "d"], "did you mean --output?"),
        (["x.nii", "-o"], "-o needs a folder"),
        (["x.nii", "-q", "-v"], "contradict each other"),
        (["evaluat", "x.nii", "y.nii"], "did you mean focvs evaluate?"),
        (["sweeep", "x.nii", "y"], "did you mean focvs sweep?"),
        (["x.nii", "steps=1.5"], "give a whole number"),
        (["x.nii", "save_samples=perhaps"], "give true or false"),
        (["x.nii", "thicknes=3"], "thicknes is not a key; did you mean thickness? accepted are scan"),
        (["x.nii", "sampler=euler"], "choose one of ddim, ddpm, dpmpp_2m, dps, mean, resample"),
        (["x.nii", "consistency=hard"], "choose one of calibrated, ddnm, ddnm_plus, ddrm, diffpir, none"),
        (["x.nii", "planes=diagonal"], "choose one of average, alternate, coronal, sagittal, axial"),
        (["x.nii", "a", "b"], "too many"),
        (["x.nii", "--fast"], "not an option"),
        (["--cfg", "hydra", "x.nii"], "--cfg takes job"),
        (["x.nii", "thickness=${nothing}"], "could not be understood"),
        (["x.nii", "sampler.stepz=3"], "stepz is not a key; did you mean steps? accepted are name, steps, sigma_start"),
        (["x.nii", "thickness=[1"], "could not be understood"),
        (["samples=2"], "scan is missing"),
        (["simulate", "x.nii"], "output is missing"),
        (["simulate", "-m", "x.nii", "y.nii"], "-m sweeps scans"),
        (["-m", "x.nii", "seed=0,1"], "needs OUTPUT_DIR"),
        (["-m", "x.nii", "out", "thickness=3,abc"], "thickness=abc is not accepted"),
        (["-m", "x.nii", "out", "thicknes=3,4"], "is not a key"),
    ],
)
def test_usage_errors_are_one_sentence_and_exit_2(capsys, words, said):
    code, out, err = run(capsys, *words)
    assert code == 2
    assert said in err
    assert err.startswith("focvs: ")
    assert err.count("\n") == 1
    assert out == ""


def test_a_failed_job_exits_1(capsys, tmp_path):
    code, _, err = run(capsys, tmp_path / "missing.nii.gz")
    assert code == 1
    assert "does not exist" in err
    assert "Traceback" not in err


def test_an_awkward_path_end_to_end(capsys, tmp_path, thick_scan, tiny_prior):
    folder = tmp_path / "a, b=[c] d"
    folder.mkdir()
    scan = folder / "it's, x=1.nii.gz"
    scan.write_bytes(thick_scan.read_bytes())
    code, _, err = run(capsys, scan, folder / "out, 2", "thickness=5", *quick(tiny_prior))
    assert code == 0, err
    assert (folder / "out, 2" / "it's, x=1_focvs.nii.gz").is_file()
