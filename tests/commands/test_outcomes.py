import json

from command_line import quick
from focvs.cli import main


def test_one_scan_is_one_line(tmp_path, thick_scan, tiny_prior, capsys):
    words = [str(thick_scan), str(tmp_path / "out"), *quick(tiny_prior), "thickness=5", "log=json"]
    assert main(words) == 0
    (line,) = capsys.readouterr().out.splitlines()
    said = json.loads(line)
    assert said["status"] == "restored" and said["result"] == "scan_focvs.nii.gz" and said["warnings"] >= 0
    assert said["seconds"] > 0 and said["peak_memory_mib"] > 50 and said["relative_residual"] < 1e-5
    assert main([*words, "seed=1"]) == 0 and "restored" in capsys.readouterr().out  # again, as asked for


def test_one_that_fails_is_a_line_too(tmp_path, capsys):
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"\x1f\x8bnothing")
    assert main([str(broken), str(tmp_path / "out"), "log=json"]) == 1
    out, err = capsys.readouterr()
    said = json.loads(out)
    assert said["status"] == "failed" and said["reason"] in err and len(err.strip().splitlines()) == 1
    assert main([str(broken), str(tmp_path / "out"), "log=xml"]) == 1
    assert "log=xml is not known" in capsys.readouterr().err
