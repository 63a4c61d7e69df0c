"""Under a launcher: one process of each machine works, with as many as were launched, and none is ended by another."""

import os
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest

from command_line import quick
from focvs import pipeline
from focvs.cli import main
from focvs.commands import cohort
from focvs.commands.bids import main as bids
from focvs.commands.cohort import NAME, read_table
from focvs.commands.launched import VARIABLES, Launch, divided, read_launch, take_over
from focvs.errors import InputError
from focvs.run_config import RunConfig
from scans import write_thick_scan

CONFIG = RunConfig(scan="scan.nii.gz", samples=8)
LAUNCH = Launch(rank=0, processes=4)


def variables(launch):
    words = ("run", launch.rank, launch.processes, launch.machines)
    return dict(zip(VARIABLES, map(str, words), strict=True))


@pytest.fixture
def launched(monkeypatch):
    """Start as a process of a launch."""

    def start(launch):
        for name, word in variables(launch).items():
            monkeypatch.setenv(name, word)

    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as torchrun does; put back afterwards
    return start


def test_what_a_launcher_says_is_read_and_what_others_say_is_not():
    launch = Launch(rank=1, processes=4, machines=3)
    assert read_launch(variables(launch)) == launch
    assert read_launch({"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1"}) is None  # of MPI, say
    assert read_launch(variables(launch) | {"RANK": "none"}) is None
    assert read_launch({}) is None


def test_the_first_takes_the_threads_of_all_and_the_others_do_not_work():
    for before, after in (({"OMP_NUM_THREADS": "3"}, {"OMP_NUM_THREADS": "12"}), ({}, {})):
        assert take_over(LAUNCH, before) and before == after
        assert not take_over(replace(LAUNCH, rank=2), before) and before == after
        assert take_over(None, before) and before == after
    with pytest.raises(InputError, match=r"shard=1/2 ... 2/2"):
        take_over(replace(LAUNCH, machines=2), {})


def test_scans_are_divided_between_workers():
    assert divided(CONFIG, LAUNCH, True, ()) == replace(CONFIG, workers=4)
    for given in (1, 2):
        assert divided(replace(CONFIG, workers=given), LAUNCH, True, {"workers"}).workers == given


def test_samples_of_one_scan_are_divided_between_devices():
    assert divided(CONFIG, LAUNCH, False, ()) == replace(CONFIG, devices=4)
    assert divided(replace(CONFIG, samples=3), LAUNCH, False, ()).devices == 3
    for alone in (replace(CONFIG, samples=0), replace(CONFIG, method="spline"), replace(CONFIG, compile=True)):
        assert divided(alone, LAUNCH, False, ()) == alone
    assert divided(CONFIG, LAUNCH, False, {"devices"}) == CONFIG


@pytest.mark.parametrize("words", [(), ("shard=2/4",), ("-m",)])
def test_the_command_asks_for_as_many_as_were_launched(words, launched, monkeypatch, tmp_path, thick_scan):
    """A folder and a scan; not where each process has its shard, and not in sweeps."""
    (study := tmp_path / "study").mkdir()
    for name in ("a", "b"):
        shutil.copy(thick_scan, study / f"{name}.nii.gz")
    asked = []
    monkeypatch.setattr(cohort, "restore_cohort", lambda config, found: asked.append(config.workers) or True)
    monkeypatch.setattr(pipeline, "super_resolve", lambda config: asked.append(config.devices))
    launched(LAUNCH)
    assert main([*words, str(study), str(tmp_path / "one")]) == 0
    assert main([*words[:1], str(thick_scan), str(tmp_path / "two"), "samples=2"]) == 0
    assert asked == ([1, 1] if words else [4, 2])


def test_threads_that_are_given_to_the_bids_app_stand(launched, tmp_path):
    launched(LAUNCH)
    assert bids([str(tmp_path), str(tmp_path / "out"), "participant", "--n-cpus", "3"]) == 1  # an empty data set
    assert os.environ["OMP_NUM_THREADS"] == "3"


def test_the_other_processes_have_nothing_to_do(launched, tmp_path, caplog):
    launched(replace(LAUNCH, rank=1))
    for words in ([str(tmp_path / "nothing"), str(tmp_path / "out")], ["demo", str(tmp_path / "out")]):
        caplog.clear()
        assert main(words) == 0 and "process 2 of 4: the first one does the work" in caplog.text
    assert bids([str(tmp_path), str(tmp_path / "out"), "participant"]) == 0
    assert not (tmp_path / "out").exists()
    assert main([str(tmp_path / "nothing"), str(tmp_path / "out"), "shard=2/4"]) == 1  # its own part
    launched(replace(LAUNCH, machines=2))
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
