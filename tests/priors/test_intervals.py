from dataclasses import replace

import pytest

from focvs.errors import PriorError
from focvs.priors.intervals import IntervalTable, ordered
from focvs.priors.pretrained import INTERVALS, load_prior
from interval_tables import ROW, ROWS, TABLE


@pytest.mark.parametrize(("spacing", "factor"), [(2.0, 3.0), (4.0, 3.0), (5.0, 3.75), (8.0, 6.0), (11.0, 6.0)])
def test_factors_are_linear_in_the_spacing_and_continued(spacing, factor):
    assert TABLE.factor(spacing, 0.9) == pytest.approx(factor)
    assert replace(TABLE, rows=(ROW,)).factor(spacing, 0.9) == 3.0
    with pytest.raises(ValueError, match=r"no intervals of 0\.7"):
        TABLE.factor(spacing, 0.7)


def test_a_table_comes_back_in_order(tmp_path):
    replace(TABLE, rows=ordered(ROWS[::-1])).save(tmp_path / INTERVALS)
    assert IntervalTable.load(tmp_path / INTERVALS) == TABLE
    with pytest.raises(ValueError, match="ascending"):
        replace(TABLE, rows=(ROW, ROW))


@pytest.mark.parametrize("broken", ["{}", "[]", "not json", '{"levels": [0.5, 0.8, 0.9, 0.95], "rows": []}'])
def test_broken_tables_are_one_sentence(tmp_path, tiny_prior, broken):
    for path in tiny_prior.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / INTERVALS).write_text(broken)
    with pytest.raises(PriorError, match=rf"{INTERVALS} could not be read .*measure it again"):
        load_prior(tmp_path)
