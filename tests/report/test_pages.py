"""Pages are one file, and what comes from files is escaped."""

import jinja2
import pytest

from focvs.report.pages import render

NOTHING = {"rows": [], "failed": [], "columns": [], "shown": str}


def test_what_comes_from_files_is_escaped_and_nothing_is_fetched():
    failed = [{"scan": "<b>x</b>", "status": "failed", "reason": "&"}]
    page = render("cohort.html.j2", **NOTHING | {"failed": failed})
    assert "&lt;b&gt;x&lt;/b&gt;" in page and "<b>x</b>" not in page
    assert "default-src 'none'" in page and "http:" not in page and "https:" not in page


def test_what_a_page_needs_cannot_be_forgotten():
    with pytest.raises(jinja2.UndefinedError):
        render("cohort.html.j2", rows=[])
