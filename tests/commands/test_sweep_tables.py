import os

import numpy as np
import pytest

from focvs.commands import sweep_tables
from focvs.commands.overrides import compose, to_schema
from focvs.commands.sweep import run_job
from focvs.commands.sweep_tables import collect, confidence, summarise
from focvs.errors import InputError
from scans import write_scan


@pytest.fixture
def head(tmp_path, phantom):
    return write_scan(tmp_path / "head.nii.gz", (1000 * phantom[1]).astype(np.float32), np.diag([1.2, 1.2, 1.2, 1]))


def test_intervals_are_students():
    assert confidence([1.0]) is None
    # 95 % of t with one degree of freedom lies within 12.706 standard errors
    assert confidence([1.0, 3.0]) == pytest.approx(12.706 * 1.0, rel=1e-4)


def test_means_leave_out_what_was_not_measured():
    row = dict.fromkeys(sweep_tables.SCORES, 1.0)
    rows = [
        {**dict.fromkeys(sweep_tables.KEYS, 4.0), "seed": seed, "steps": None, **row, "residual": residual}
        for seed, residual in ((0, None), (1, 2.0))
    ]
    (line,) = summarise(rows, ["steps"])
    assert line["residual"] == 2.0 and line["repeats"] == 2 and line["psnr_db_ci"] == 0.0


def test_a_perfect_estimate_does_not_lose_the_table():
    """Its PSNR is not a number, and is left out."""
    base = {**dict.fromkeys(sweep_tables.KEYS, 4.0), **dict.fromkeys(sweep_tables.SCORES, 1.0)}
    rows = [{**base, "volume": volume, "psnr_db": psnr} for volume, psnr in (("a", None), ("b", 3.0), ("c", 5.0))]
    (line,) = summarise(rows, [])
    assert line["psnr_db"] == 4.0 and line["psnr_db_ci"] == pytest.approx(confidence([3.0, 5.0]))


def test_pictures_name_what_differs():
    settings = {"method": "spline", "thickness": 4.0, "gap": 0.0, "profile": {"kind": "rect"}, "axis": "left-right"}
    settings |= {"scan_noise": 0.01, "trim": 0.0, "volume": "v", "seed": 0, "run": {}}
    jobs = [{"settings": settings}, {"settings": {**settings, "scan_noise": 0.02, "seed": 1}}]
    assert sweep_tables._varying(settings, jobs) == ["scan_noise 0.01"]


def test_intervals_are_over_heads_where_there_are_several():
    base = {**dict.fromkeys(sweep_tables.KEYS, 4.0), **dict.fromkeys(sweep_tables.SCORES, 1.0)}
    rows = [
        {**base, "volume": volume, "seed": seed, "psnr_db": psnr}
        for volume, psnr in (("a", 1.0), ("b", 3.0))
        for seed in (0, 1, 2)
    ]
    (line,) = summarise(rows, [])
    assert (line["repeats"], line["heads"], line["psnr_db"]) == (6, 2, 2.0)
    assert line["psnr_db_ci"] == pytest.approx(confidence([1.0, 3.0]))


def test_of_jobs_with_the_same_settings_the_one_asked_for_last_counts(tmp_path, head):
    """A volume that was another for a while: its own job is found again, and is in the table again."""

    def job(stamp):
        os.utime(head, ns=(stamp, stamp))
        run_job(to_schema(compose("sweep", [f"volume={head}", f"output_dir={tmp_path}/out", "method=nearest"])))
        return [
            (found["folder"], found["settings"]["files"][str(head)])
            for found in sweep_tables.newest_jobs(tmp_path / "out")
        ]

    (first, _), (second, _) = *job(1), *job(2)
    assert first != second
    assert job(2) == [(second, 2)]
    assert job(1) == [(first, 1)]


def test_nothing_to_collect_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="no job in"):
        collect(tmp_path)
