"""Documents: blocks of Python run as they stand, and links lead somewhere."""

import re
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), *ROOT.glob("checkpoints/*/README.md")])


def anchors(page):
    titles = [line.lstrip("# ") for line in page.read_text().splitlines() if re.match(r"#+ ", line)]
    return {re.sub(r"[^\w -]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        other = (page.parent / path).resolve() if path else page
        assert other.exists(), f"{target} is not there"
        assert not anchor or anchor in anchors(other), f"{target}: {sorted(anchors(other))}"


def test_every_page_is_reached_from_the_first():
    reached, ahead = set(), [ROOT / "README.md"]
    while ahead:
        page = ahead.pop()
        reached.add(page)
        found = {
            (page.parent / t.partition("#")[0]).resolve() for t in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
        }
        ahead += [other for other in found if other.suffix == ".md" and other.is_file() and other not in reached]
    assert set(PAGES) <= reached, set(PAGES) - reached


def test_the_first_page_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 120


def test_the_page_on_python_runs(tmp_path, monkeypatch, phantom, capsys):
    np.save(tmp_path / "head.npy", phantom[0].astype(np.float32))
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(), re.S)
    assert len(blocks) == 4
    names: dict = {}
    for block in blocks:
        exec(block, names)
    assert float(capsys.readouterr().out.split()[-1]) < 1e-5  # the sample reproduces what was measured
    rows = names["focvs"].evaluate(names["head"], [names["spline"], names["result"].mean])
    assert rows[1]["psnr_db"] > rows[0]["psnr_db"] + 1
