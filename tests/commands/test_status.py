from focvs.cli import main
from focvs.commands.cohort import COLUMNS, NAME
from focvs.files import write_csv
from focvs.locks import locked


def row(scan, status, **more):
    return {"scan": scan, "status": status, "seconds": 12.0 if status == "restored" else "", **more}


def test_what_is_done_what_is_at_work_and_what_failed(tmp_path, capsys):
    rows = [row("a.nii", "restored"), row("b.nii", "skipped"), row("c.nii", "failed", reason="it is damaged")]
    write_csv(tmp_path / f"{NAME}.csv", rows, COLUMNS)
    (tmp_path / "sub").mkdir()
    lock, inner = tmp_path / f".{NAME}.lock", tmp_path / "sub" / ".d_focvs.lock"
    with locked(lock, "all", total=10), locked(inner, "one"):
        assert main(["status", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "3 of 10 done (1 restored, 1 skipped, 1 failed); running, process" in said
    assert (
        "failed: c.nii: it is damaged" in said
        and "at work: sub/d_focvs (process" in said
        and "left at the pace" in said
    )
    assert main(["status", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "3 done" in said and "ended" in said and "at work" not in said


def test_parts_have_a_line_each_and_a_run_that_has_just_begun(tmp_path, capsys):
    write_csv(tmp_path / f"{NAME}_1-of-2.csv", [row("a.nii", "there")], COLUMNS)
    with locked(tmp_path / f".{NAME}_0-of-2.lock", "part", total=5):
        assert main(["status", str(tmp_path)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len([line for line in said if line.startswith(NAME)]) == 2 and "0 of 5 done (nothing done yet)" in said[0]


def test_folders_without_runs(tmp_path, capsys):
    assert main(["status", str(tmp_path)]) == 1 and "holds no results and no run" in capsys.readouterr().err
    assert main(["status", str(tmp_path / "none")]) == 1 and "is no folder" in capsys.readouterr().err
    assert main(["status"]) == 2
    (tmp_path / "a_focvs.json").write_text("{}")
    assert main(["status", str(tmp_path)]) == 0 and "focvs collect" in capsys.readouterr().out
