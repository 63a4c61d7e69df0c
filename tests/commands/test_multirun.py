import subprocess
import sys

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from command_line import quick
from focvs.cli import main
from focvs.commands.cohort import NAME
from focvs.commands.multirun import first_of_sweep
from focvs.commands.overrides import UsageError
from focvs.config import conf_dir
from scans import write_thick_scan


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


def test_parts_of_a_folder_go_into_one(tmp_path, phantom, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        write_thick_scan(tmp_path / f"s{number}.nii.gz", phantom[1])
    words = ["-m", str(tmp_path), str(tmp_path / "out"), "thickness=5", "method=linear", "shard=1/2,2/2"]
    assert main([*words, "figure=false", "report=false"]) == 0
    assert len(list((tmp_path / "out").glob("s*_linear.nii.gz"))) == 3
    assert {path.name for path in (tmp_path / "out").glob("*.csv")} == {f"{NAME}_{part}-of-2.csv" for part in (0, 1)}


@pytest.mark.parametrize(("preset", "plugin"), [("slurm", "submitit"), ("local", "joblib")])
def test_presets_of_launchers_are_those_of_their_plugins(preset, plugin):
    pytest.importorskip(f"hydra_plugins.hydra_{plugin}_launcher")
    with initialize_config_dir(version_base="1.3", config_dir=str(conf_dir())):
        words = ["scan=a", "output_dir=o", f"hydra/launcher={preset}"]
        launcher = compose("config", words, return_hydra_config=True).hydra.launcher
    assert f"hydra_{plugin}_launcher" in launcher._target_
    asked = yaml.safe_load((conf_dir() / "hydra" / "launcher" / f"{preset}.yaml").read_text())
    for key, value in asked.items():
        assert key == "defaults" or OmegaConf.to_container(launcher)[key] == value
