import itertools
import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from conftest import write_scan
from omegaconf import OmegaConf

from focvs import __version__
from focvs.cli import main
from focvs.commands.overrides import UsageError, compose, quote, to_overrides
from focvs.config import SCHEMAS, conf_dir


def run(capsys, *words):
    code = main([str(w) for w in words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def quick(prior):
    return [f"prior.path={quote(str(prior))}", "samples=1", "steps=1", "figure=false"]


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


@pytest.mark.parametrize("words", ["--help", "--version", "--cfg job"])
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
        (["x.nii", "thickness=[4]"], "give a number or estimate"),
        (["x.nii", "steps=1.5"], "give a whole number"),
        (["x.nii", "save_samples=perhaps"], "give true or false"),
        (["x.nii", "thicknes=3"], "thicknes is not a key; accepted are scan"),
        (["x.nii", "sampler=euler"], "choose one of ddim, ddpm, dpmpp_2m, dps, resample"),
        (["x.nii", "consistency=hard"], "choose one of calibrated, ddnm, ddnm_plus, ddrm, diffpir, none"),
        (["x.nii", "planes=diagonal"], "choose one of average, alternate, coronal, sagittal, axial"),
        (["x.nii", "a", "b"], "too many"),
        (["x.nii", "--fast"], "not an option"),
        (["--cfg", "hydra", "x.nii"], "--cfg takes job"),
        (["x.nii", "thickness=${nothing}"], "could not be understood"),
        (["x.nii", "sampler.stepz=3"], "stepz is not a key; accepted are name, steps, sigma_start"),
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


AWKWARD = ["a b.nii.gz", "k=v, [1] {x}.nii.gz", 'it\'s "quoted".nii.gz', "back\\slash\\.nii.gz", "${x}.nii.gz"]


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_names_survive_the_grammar(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(name).touch()
    assert compose("config", [f"scan={quote(name)}"]).scan == name
    assert compose("config", to_overrides([name], ("scan",))).scan == name
    assert compose("config", to_overrides([f"scan={name}"], ())).scan == name


def test_words_become_overrides(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("k=v.nii").touch()
    assert to_overrides(["k=v.nii", "out dir", "seed=3"], ("scan", "output_dir")) == [
        "scan='k=v.nii'",
        "output_dir='out dir'",
        "seed=3",
    ]
    assert to_overrides(["profile=a/b c.npy"], ()) == ["profile=sampled", "profile.path='a/b c.npy'"]
    assert to_overrides(["profile=rect"], ()) == ["profile=rect"]
    assert to_overrides(["s.nii", "out/seed=0"], ("scan", "output_dir"))[1] == "output_dir='out/seed=0'"
    Path("seed=1").mkdir()
    assert to_overrides(["seed=1"], ("scan",)) == ["seed=1"]


def test_texts_are_taken_as_typed_and_swept_at_their_commas(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    command = "mri_synthseg --i {input} --o {output} --names '1, 2'"
    config = compose(
        "evaluate", to_overrides([f"segment_command={command}", "scan=~/s.nii", "brain=null"], (), "evaluate")
    )
    assert (config.segment_command, config.scan, config.brain) == (command, f"{tmp_path}/s.nii", None)
    assert to_overrides(["path='a b'"], ()) == ["prior.path='a b'"]
    assert to_overrides(["path=a,b"], ()) == ["prior.path='a,b'"]
    assert to_overrides(["path=a,b c"], (), swept=True) == ["prior.path='a','b c'"]
    swept = to_overrides(["profile=a.npy,b.npy"], (), "sweep", swept=True)
    assert swept == ["profile=sampled", "profile.path='a.npy','b.npy'"]
    with pytest.raises(UsageError, match="one kind at a time"):
        to_overrides(["profile=rect,b.npy"], (), "sweep", swept=True)
    typed = [f"volume='a b.nii',{chr(34)}c,d.nii{chr(34)}", "prior.path=/x/a,/x/b", "path=null,e", "scan=~s.nii"]
    assert to_overrides(typed, (), "sweep", swept=True) == [
        typed[0],
        typed[1],
        "prior.path=null,'e'",
        "scan='~s.nii'",
    ]
    monkeypatch.chdir(tmp_path)
    Path("a,b.npy").touch()
    assert to_overrides(["profile=a,b.npy"], (), swept=True) == ["profile=sampled", "profile.path='a,b.npy'"]
    url = "segment_command=~/seg --url http://x {input} {output}"
    assert to_overrides([url], (), "evaluate") == [
        f"segment_command='{tmp_path}/seg --url http://x {{input}} {{output}}'"
    ]


def test_an_awkward_path_end_to_end(capsys, tmp_path, thick_scan, tiny_prior):
    folder = tmp_path / "a, b=[c] d"
    folder.mkdir()
    scan = folder / "it's, x=1.nii.gz"
    scan.write_bytes(thick_scan.read_bytes())
    code, _, err = run(capsys, scan, folder / "out, 2", "thickness=5", *quick(tiny_prior))
    assert code == 0, err
    assert (folder / "out, 2" / "it's, x=1_focvs.nii.gz").is_file()


def test_multirun_writes_a_folder_a_job_and_goes_on_after_a_failure(tmp_path, thick_scan, tiny_prior):
    """Own process: hydra.main reads sys.argv and calls sys.exit."""
    out = tmp_path / "sweep, 1"
    words = ["-m", str(thick_scan), str(out), "thickness=90,5", "seed=0,1", *quick(tiny_prior)]
    done = subprocess.run([sys.executable, "-m", "focvs.cli", *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1
    good = [p for p in out.iterdir() if (p / "scan_focvs.nii.gz").is_file()]
    assert sorted(p.name.split("seed=")[1][0] for p in good) == ["0", "1"]
    assert all("thickness=5" in p.name for p in good)
    assert "thickness=90 mm does not fit" in done.stderr
    assert done.stderr.count("loaded prior") == 1
    assert "Traceback" not in done.stderr
    assert {p.name for p in tmp_path.iterdir()} == {"scan.nii.gz", "sweep, 1"}


def test_multirun_that_succeeds_exits_0(tmp_path, thick_scan, tiny_prior):
    words = ["-m", str(thick_scan), str(tmp_path / "out"), "thickness=5", "seed=0,1", *quick(tiny_prior)]
    done = subprocess.run([sys.executable, "-m", "focvs.cli", *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out").glob("*/scan_focvs.json"))) == 2


def test_simulate(capsys, tmp_path):
    rng = np.random.default_rng(0)
    affine = np.diag([1.0, -1.0, 1.1, 1.0])
    affine[:3, 3] = (5, 6, 7)
    volume = write_scan(tmp_path / "hr.nii.gz", rng.uniform(1, 9, (8, 9, 50)).astype(np.float32), affine)
    code, _, err = run(
        capsys, "simulate", volume, tmp_path / "thick.nii.gz", "thickness=4", "spacing=5", "profile=rect"
    )
    assert code == 0, err
    image = nib.load(tmp_path / "thick.nii.gz")
    assert image.shape == (8, 9, 11)
    assert np.allclose(image.header.get_zooms(), (1, 1, 5))
    middle = [0, 0, 24.5, 1], [0, 0, 5, 1]
    assert np.allclose(affine @ middle[0], image.affine @ middle[1], atol=1e-5)
    sidecar = json.loads((tmp_path / "thick.json").read_text())
    assert (sidecar["SliceThickness"], sidecar["SpacingBetweenSlices"]) == (4, 5)
    code, _, _ = run(capsys, "simulate", volume, tmp_path / "o", "thickness=2", "axis=left-right", "noise=0.1")
    assert code == 0
    assert nib.load(tmp_path / "o" / "hr_thick.nii.gz").shape == (4, 9, 50)
    np.save(tmp_path / "two.npy", np.array([[-1, 0], [-0.9, 1], [0.9, 1], [1, 0]]))
    code, _, err = run(capsys, "simulate", volume, tmp_path / "two.nii.gz", f"profile={tmp_path}/two.npy", "spacing=3")
    assert code == 0, err
    assert json.loads((tmp_path / "two.json").read_text())["SliceThickness"] == pytest.approx(1.9, rel=0.01)
    for wrong, said in (
        ("profile.kind=sampled", "could not be used"),
        ("noise=-1", "at least 0"),
        ("axis=up", "axis=up"),
        ("thickness=-1", "above 0"),
        ("thickness=99", "no slice"),
    ):
        code, _, err = run(capsys, "simulate", volume, tmp_path / "x.nii.gz", wrong)
        assert code == 1
        assert said in err


def test_simulated_noise_is_added_or_that_of_a_magnitude(tmp_path, capsys):
    """In air of nothing the one has a mean of zero, the other of sigma sqrt(pi / 2)."""
    head = np.zeros((40, 40, 48), np.float32)
    head[15:25, 15:25] = 1000
    volume, means = write_scan(tmp_path / "hr.nii.gz", head, np.eye(4)), []
    for word in ("rician=false", "rician=true"):
        code, _, err = run(capsys, "simulate", volume, tmp_path / "thick.nii.gz", "thickness=4", "noise=0.05", word)
        assert code == 0, err
        means.append(nib.load(tmp_path / "thick.nii.gz").get_fdata()[:12].mean())
    assert means == pytest.approx([0, 50 * np.sqrt(np.pi / 2)], abs=2)


def configurations():
    """Every file of conf/, with what it takes to compose it."""
    for path in sorted(conf_dir().rglob("*.yaml")):
        relative = path.relative_to(conf_dir())
        if len(relative.parts) == 1:
            yield relative.stem, []
        else:
            name = "train" if relative.parts[0] in ("network", "experiment") else "config"
            yield name, [f"{relative.parts[0]}={relative.stem}"]


@pytest.mark.parametrize(("name", "overrides"), list(configurations()), ids=str)
def test_every_configuration_composes_and_instantiates(name, overrides, monkeypatch, tmp_path):
    monkeypatch.setenv("FOCVS_DATA", "/data")
    config = compose(name, overrides)
    if name in SCHEMAS:
        missing = {"scan": "s.nii", "volume": "v.nii", "output": "o.nii", "data": "d", "truth": "t", "estimates": "[e]"}
        missing["output_dir"] = "o"
        fill = [f"{k}={v}" for k, v in missing.items() if k in SCHEMAS[name].__dataclass_fields__]
        if overrides == ["profile=sampled"]:
            fill.append("profile.path=p.npy")
        settings = OmegaConf.to_object(compose(name, [*overrides, *fill]))
        assert isinstance(settings, SCHEMAS[name])
        if name == "config":
            from focvs.config import checkpoints_dir
            from focvs.priors.pretrained import KINDS
            from focvs.sampling.consistency import RULES
            from focvs.sampling.samplers import SAMPLERS
            from focvs.training.fine_tuning import METHODS

            assert settings.sampler.name in SAMPLERS
            assert settings.consistency.rule in RULES
            assert settings.prior.kind in KINDS
            assert (checkpoints_dir() / settings.prior.name).is_dir() == (settings.prior.name == "head2d")
            assert settings.adaptation.method in METHODS
    else:
        from hydra.utils import instantiate

        assert instantiate(config.plan).steps == config.plan.steps
        assert sum(p.numel() for p in instantiate(config.network, _convert_="all").parameters()) > 1e6


@pytest.mark.parametrize("path", sorted((conf_dir() / "experiment").glob("*.yaml")), ids=lambda p: p.stem)
def test_an_experiment_overrides_the_training_configuration(path, monkeypatch):
    monkeypatch.setenv("FOCVS_DATA", "/data")
    config = OmegaConf.to_container(compose("train", [f"experiment={path.stem}"]), resolve=True)
    wanted = OmegaConf.to_container(OmegaConf.load(path))
    wanted.pop("defaults", None)

    def holds(part, whole):
        for key, value in part.items():
            if isinstance(value, dict):
                holds(value, whole[key])
            else:
                assert whole[key] == value, key

    holds(wanted, config)
    if path.stem == "head3d":
        assert config["network"]["_target_"].endswith("HaarUNet3D")


def test_every_key_has_a_comment():
    for path in conf_dir().rglob("*.yaml"):
        lines = path.read_text().splitlines()
        assert lines[0].startswith("#"), path
        exempt = ("defaults", "hydra", "network", "plan", "pool", "augmentation")
        for before, line in itertools.pairwise(lines):
            key = line.split(":")[0].strip()
            if line and line[0].isalpha() and ":" in line and key not in exempt:
                explained = before.startswith("#") or key in ("name", "rule", "kind")
                assert explained, f"{path}: {key} has no comment"


def test_a_scan_that_is_named_leaves_the_folder_to_the_positional(capsys):
    assert main(["scan=a.nii", "out", "--cfg", "job"]) == 0
    printed = OmegaConf.create(capsys.readouterr().out)
    assert (printed.scan, printed.output_dir) == ("a.nii", "out")
    assert main(["scan=a.nii", "b.nii", "out", "--cfg", "job"]) == 0
    printed = OmegaConf.create(capsys.readouterr().out)
    assert (printed.scan, printed.stacks, printed.output_dir) == ("a.nii", ["b.nii"], "out")


def test_stacks_are_a_list_in_one_place(capsys):
    assert main(["a.nii", "b.nii", "out", "stacks=[c.nii]"]) == 2
    assert "name further stacks in one place" in capsys.readouterr().err
    assert main(["a.nii", "out", "stacks=c.nii"]) == 2
    assert "a list is written stacks=[c.nii]" in capsys.readouterr().err
