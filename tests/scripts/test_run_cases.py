"""scripts/run_cases.py tells scripts that pass from those that do not."""

import sys


def test_each_script_is_run_and_those_that_fail_are_counted(tmp_path, import_script, monkeypatch, capsys):
    (tmp_path / "build.py").write_text("def verdict(): ...")  # a helper, no case
    (tmp_path / "good.py").write_text("import os; print('PASS:', os.environ['FOCVS'])")
    (tmp_path / "bad.py").write_text("print('FAIL: on purpose'); raise SystemExit(1)")
    script = import_script("run_cases")
    monkeypatch.setattr(sys, "argv", ["run_cases.py", str(tmp_path), "--focvs", "/some/focvs"])
    assert script.main() == 1
    out = capsys.readouterr().out
    assert "PASS: /some/focvs" in out and "FAIL: on purpose" in out and "1 of 2 pass; failed: bad" in out
    monkeypatch.setattr(sys, "argv", ["run_cases.py", str(tmp_path), "good"])
    assert script.main() == 0
