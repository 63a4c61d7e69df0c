from pathlib import Path

import pytest
from omegaconf import OmegaConf

from focvs.cli import main
from focvs.commands.overrides import UsageError, compose, further_stacks, quote, to_overrides

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


def test_the_command_line_takes_stacks_before_the_folder(tmp_path, axial, sagittal, monkeypatch, capsys):
    words = [str(axial), "samples=1", str(sagittal), "third.nii", str(tmp_path / "out")]
    kept, stacks = further_stacks(words)
    assert stacks == [str(sagittal), "third.nii"]
    assert kept == [str(axial), "samples=1", str(tmp_path / "out")]
    assert main([str(axial), str(sagittal), str(tmp_path / "out"), "--cfg", "job"]) == 0
    printed = OmegaConf.create(capsys.readouterr().out)
    assert printed.scan == str(axial) and printed.stacks == [str(sagittal)]
    assert printed.output_dir == str(tmp_path / "out")
