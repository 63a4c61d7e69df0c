import subprocess
import sys

import pytest

from command_line import quick
from focvs.cli import main
from focvs.commands.multirun import first_of_sweep
from focvs.commands.overrides import UsageError


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


def test_multirun_that_succeeds_exits_0(tmp_path, thick_scan, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["-m", str(thick_scan), str(tmp_path / "out"), "thickness=5", "method=linear,spline", "figure=false"]
    assert main(words) == 0
    assert len(list((tmp_path / "out").glob("*/scan_*.json"))) == 2


def test_every_value_is_tried_before_the_first_job():
    config, single = first_of_sweep("config", ["scan=a", "output_dir=o", "seed=0,1", "steps=3"], ("scan", "output_dir"))
    assert (config.seed, config.steps) == (0, 3)
    assert set(single) == {"scan", "output_dir", "steps"}
    with pytest.raises(UsageError, match="planes=diagonal is not known"):
        first_of_sweep("config", ["scan=a", "output_dir=o", "planes=coronal,diagonal"], ("scan", "output_dir"))
    with pytest.raises(UsageError, match="scan is missing"):
        first_of_sweep("config", ["output_dir=o", "seed=0,1"], ("scan", "output_dir"))
