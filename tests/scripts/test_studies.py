"""Scripts that train many priors: what is trained for how long, from what, and what is said of it."""

import itertools
import json

import numpy as np
import pytest
import torch

from scans import write_scan

SECONDS = {"base": 2.0, "attention": 4.0}  # of a step
GAINS = {"base": [1.0, 1.2], "attention": [1.3, 1.4]}


@pytest.fixture
def truth(tmp_path, phantom):
    return write_scan(tmp_path / "some_T1w.nii.gz", (100 * phantom[0]).astype(np.float32), np.eye(4))


def test_rows_of_a_study_are_trained_for_the_same_time(import_script, tmp_path, truth, monkeypatch, capsys):
    study, trained = import_script("study"), []

    def train(output, threads, *words):
        steps = int(next(w for w in words if w.startswith("plan.steps=")).partition("=")[2])
        attention = [w for w in words if w.startswith("network.mid_attention=")]
        trained.append((output.parent.name, output.name, steps, attention[-1] == "network.mid_attention=true"))
        output.mkdir(parents=True)
        second = SECONDS[output.parent.name]
        records = [{"step": s, "seconds": second * s} for s in range(5, steps + 1, 5)]
        (output / "log.jsonl").write_text("\n".join(map(json.dumps, records)))

    monkeypatch.setattr(study, "train", train)
    monkeypatch.setattr(study, "score", lambda path, head, slices: torch.tensor(GAINS[path.parent.parent.name]))
    words = ["architecture", str(truth), str(tmp_path / "out"), "--minutes", "1", "--only", "base", "attention"]
    words += ["--", "network.mid_attention=false"]  # a row's own settings hold against it
    monkeypatch.setattr("sys.argv", ["study.py", *words])
    study.main()
    probes = [("attention", "probe", 20, True), ("base", "probe", 20, False)]
    assert sorted(trained) == sorted([*probes, ("base", "run", 30, False), ("attention", "run", 15, True)])
    said = capsys.readouterr().out.splitlines()
    assert said[1].split() == ["base", "30", "1.10", "(+0.00", "+-", "0.00)"]
    assert said[2].split() == ["attention", "15", "1.35", "(+0.25", "+-", "0.05)"]
    study.main()  # what is there is not trained again
    assert len(trained) == 4 and capsys.readouterr().out.splitlines() == said


def test_each_stage_starts_from_the_one_before(import_script, tmp_path, truth, monkeypatch):
    stages, commands = import_script("three_stage"), []
    monkeypatch.setattr(stages.subprocess, "run", lambda command, check: commands.append(command))
    monkeypatch.setattr("sys.argv", ["three_stage.py", str(truth), str(tmp_path), "--steps", "7", "--", "samples=2"])
    stages.main()
    *trainings, restorations = commands
    assert [command[2] for command in trainings] == ["experiment=synthetic", "experiment=mr", "experiment=mr"]
    assert all("plan.steps=7" in command for command in trainings)
    starts = [[w for w in command if w.startswith("start=")] for command in trainings]
    assert starts == [[], [], [f"start={tmp_path / 'synthetic' / 'ema'}"]]
    runs = dict(w.split(": ") for before, w in itertools.pairwise(restorations) if before == "--run")
    assert list(runs) == ["synthetic", "MRI", "scan", "synthetic, MRI", "synthetic, MRI, scan"]
    assert [name for name, words in runs.items() if "adapt=true" in words] == ["scan", "synthetic, MRI, scan"]
    assert f"prior.path={tmp_path / 'synthetic_mr' / 'ema'}" in runs["synthetic, MRI, scan"]
    assert (
        restorations[-3:] == ["--", "quality=samples", "samples=2"]
        and (tmp_path / "untrained" / "config.json").is_file()
    )
