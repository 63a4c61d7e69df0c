"""A folder of scans: each is restored, skipped or said to have failed, and what is done is not done again."""

import numpy as np
import pytest

from command_line import quick
from dicom_files import write_series
from focvs.cli import main
from focvs.commands.cohort import NAME, read_shard, read_table
from focvs.errors import InputError
from scans import write_scan, write_thick_scan


@pytest.fixture
def study(tmp_path, phantom):
    folder = tmp_path / "study"
    (folder / "sub-01").mkdir(parents=True)
    write_thick_scan(folder / "a.nii.gz", phantom[1])
    write_thick_scan(folder / "sub-01" / "a.nii.gz", phantom[0])
    write_scan(folder / "isotropic.nii.gz", (1000 * phantom[0]).astype(np.float32), np.diag([1.2, 1.2, 1.2, 1.0]))
    (folder / "broken.nii.gz").write_bytes(b"\x1f\x8bnothing")
    slices = (1000 * phantom[1][..., ::5]).astype(np.uint16).transpose(1, 0, 2)
    write_series(folder / "dicom", slices, 3)
    write_series(folder / "dicom", slices, 4, Modality="CT")
    return folder


def table(out, name=NAME):
    return {row["scan"]: row for row in read_table(out / f"{name}.csv")}


def test_everything_is_restored_that_can_be(tmp_path, study, tiny_prior, capsys, phantom):
    out, words = tmp_path / "out", [*quick(tiny_prior), "thickness=5"]
    assert main([str(study), str(out), *words]) == 1  # one is broken
    rows = table(out)
    assert {name: row["status"] for name, row in rows.items()} == {
        "a.nii.gz": "restored",
        "broken.nii.gz": "failed",
        "isotropic.nii.gz": "skipped",
        "sub-01/a.nii.gz": "restored",
        "dicom, series 3": "restored",
        "dicom, series 4": "skipped",
    }
    assert rows["sub-01/a.nii.gz"]["result"] == "sub-01/a_focvs.nii.gz"
    assert rows["dicom, series 3"]["result"] == "dicom/dicom_3_t2_tse_focvs.nii.gz"
    assert "is CT" in rows["dicom, series 4"]["reason"] and "damaged" in rows["broken.nii.gz"]["reason"]
    for row in rows.values():
        assert (out / row["result"]).is_file() == (row["status"] == "restored") or not row["result"]
    assert float(rows["a.nii.gz"]["relative_residual"]) < 1e-5

    (study / "broken.nii.gz").unlink()
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")}
    assert main([str(study), str(out), *words]) == 0
    assert {row["status"] for row in table(out).values()} == {"there", "skipped"}
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.nii.gz")} == stamps

    assert main([str(study / "sub-01"), str(out / "sub-01"), *words, "report=true"]) == 0  # a page that was not there
    assert table(out / "sub-01")["a.nii.gz"]["status"] == "restored" and (out / "sub-01" / "a_focvs.html").is_file()
    (study / "dicom" / "cut.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 9)
    assert main([str(study), str(out), *words]) == 1
    assert "cannot be read" in table(out)["dicom/cut.dcm"]["reason"]
    (study / "dicom" / "cut.dcm").unlink()

    other = write_thick_scan(study / "sub-01" / "a.nii.gz", phantom[1][::-1])
    assert other.is_file() and main([str(study), str(out), *words]) == 1  # results of another scan are not overwritten
    assert "another scan of that name" in table(out)["sub-01/a.nii.gz"]["reason"]
    assert main([str(study), str(out), *words, "overwrite=true", "seed=1"]) == 0
    assert {row["status"] for row in table(out).values()} == {"restored", "skipped"}


def test_parts_make_the_whole(tmp_path, study, tiny_prior):
    (study / "broken.nii.gz").unlink()
    seen = []
    for part in ("1/2", "2/2"):
        out = tmp_path / part[0]
        assert main([str(study), str(out), *quick(tiny_prior), "method=linear", f"shard={part}"]) == 0
        seen += table(out, f"{NAME}_{int(part[0]) % 2}-of-2")
    assert sorted(seen) == sorted(set(seen)) and len(seen) == 5


def test_a_part_of_one_scan_is_refused(tmp_path, thick_scan, tiny_prior, capsys):
    assert main([str(thick_scan), str(tmp_path / "out"), *quick(tiny_prior), "shard=1/4"]) == 1
    assert "shard=1/4 takes a part of a folder of scans" in capsys.readouterr().err


def test_shards():
    assert [read_shard(text) for text in (None, "0/3", "1/3", "3/3")] == [(0, 1), (0, 3), (1, 3), (0, 3)]
    for text in ("4/3", "1", "a/b", "1/0", "-1/3"):
        with pytest.raises(InputError, match="is not i/N"):
            read_shard(text)
