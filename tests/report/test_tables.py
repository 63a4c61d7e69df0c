from focvs.report.tables import COLUMNS, interval_table, score_table

ROW = {**dict.fromkeys(COLUMNS, 0.5), "estimate": "ours", "resampled": False}


def test_a_line_for_each_estimate_and_a_dash_for_what_is_unknown():
    rows = [ROW, {**ROW, "estimate": "theirs", "residual": None, "resampled": True}]
    lines = score_table(rows, {"scale": 812.34567, "axis": "inferior-superior"})
    assert lines[0] == "scale: 812.3" and lines[1] == "axis: inferior-superior"
    assert all(title in lines[2] for title in COLUMNS.values())
    assert lines[3].startswith("ours") and "5.0e-01" in lines[3]
    assert " - " in lines[4] + " " and lines[4].endswith("resampled")


def test_intervals_only_where_there_are_some():
    assert interval_table([ROW]) == []
    lines = interval_table([{**ROW, "interval": {"held": 0.91, "width": 0.1, "rank_correlation": None}}])
    assert len(lines) == 2 and "0.910" in lines[1] and lines[1].rstrip().endswith("-")
