"""Under a launcher: one process of each machine works, with as many as were launched, and none is ended by another."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from command_line import quick
from focvs.cli import main
from focvs.commands.cohort import NAME, read_table
from focvs.commands.launched import VARIABLES, Launch, divided, read_launch, take_cores
from focvs.errors import InputError
from focvs.run_config import RunConfig
from scans import write_thick_scan

CONFIG = RunConfig(scan="scan.nii.gz", samples=8)


def variables(launch):
    words = ("run", launch.rank, launch.processes, launch.machine, launch.machines)
    return dict(zip(VARIABLES, map(str, words), strict=True))


def test_what_a_launcher_says_is_read_and_what_others_say_is_not():
    launch = Launch(rank=1, processes=4, machine=2, machines=3)
    assert read_launch(variables(launch)) == launch
    assert read_launch({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}) is None  # of MPI, say
    assert read_launch(variables(launch) | {"LOCAL_RANK": "none"}) is None
    assert read_launch({}) is None


def test_the_threads_of_all_processes_are_taken():
    for before, after in (({"OMP_NUM_THREADS": "3"}, {"OMP_NUM_THREADS": "12"}), ({}, {})):
        take_cores(Launch(0, 4, 0, 1), before)
        assert before == after


def test_scans_are_divided_between_workers_and_machines():
    two = Launch(rank=0, processes=4, machine=1, machines=2)
    assert divided(CONFIG, two, several=True) == replace(CONFIG, workers=4, shard="2/2")
    assert divided(CONFIG, replace(two, machine=0, machines=1), several=True) == replace(CONFIG, workers=4)
    given = replace(CONFIG, workers=2, shard="3/7")
    assert divided(given, two, several=True) == given


def test_samples_of_one_scan_are_divided_between_devices():
    one = Launch(rank=0, processes=4, machine=0, machines=1)
    assert divided(CONFIG, one, several=False) == replace(CONFIG, devices=4)
    assert divided(replace(CONFIG, samples=3), one, several=False).devices == 3
    for alone in (replace(CONFIG, samples=0), replace(CONFIG, method="spline"), replace(CONFIG, devices=2)):
        assert divided(alone, one, several=False) == alone
    with pytest.raises(InputError, match="one scan cannot be divided between the 2 machines"):
        divided(CONFIG, replace(one, machines=2), several=False)


def test_the_other_processes_have_nothing_to_do(monkeypatch, tmp_path, capsys):
    """Those of the same machine do nothing at all; the first ones of other machines take part in folders alone."""
    for name, word in variables(Launch(1, 2, 0, 1)).items():
        monkeypatch.setenv(name, word)
    assert main([str(tmp_path / "nothing"), str(tmp_path / "out")]) == 0
    for name, word in variables(Launch(0, 2, 1, 2)).items():
        monkeypatch.setenv(name, word)
    assert main(["demo", str(tmp_path / "out")]) == 0
    assert not (tmp_path / "out").exists() and capsys.readouterr().err == ""
    assert main([str(tmp_path / "nothing"), str(tmp_path / "out")]) == 1


@pytest.mark.slow
def test_a_launched_folder_is_restored_in_spite_of_a_scan_that_fails(tmp_path, phantom, tiny_prior):
    (study := tmp_path / "study").mkdir()
    for number, head in enumerate((phantom[1], phantom[0])):
        write_thick_scan(study / f"s{number}.nii.gz", head)
    (study / "broken.nii.gz").write_bytes(b"\x1f\x8bnothing")

    def launch(scan, out, *words):
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "focvs"]
        words = [*quick(tiny_prior), "thickness=5", "progress=false", *words]
        return subprocess.run(
            [sys.executable, *launcher, str(scan), str(tmp_path / out), *words],
            capture_output=True,
            text=True,
            timeout=240,
            env={name: word for name, word in os.environ.items() if name != "OMP_NUM_THREADS"},
            check=False,
        )

    ended = launch(study, "folder")
    assert ended.returncode == 1, ended.stderr
    rows = {row["scan"]: row["status"] for row in read_table(tmp_path / "folder" / f"{NAME}.csv")}
    assert rows == {"s0.nii.gz": "restored", "s1.nii.gz": "restored", "broken.nii.gz": "failed"}
    assert launch(study / "s0.nii.gz", "one", "samples=2").returncode == 0
    assert (
        main([str(study / "s0.nii.gz"), str(tmp_path / "alone"), *quick(tiny_prior), "thickness=5", "samples=2"]) == 0
    )
    (name,) = (path.name for path in (tmp_path / "alone").glob("*_focvs.nii.gz"))
    assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
