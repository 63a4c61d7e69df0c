"""Documents: blocks of Python run as they stand, and links lead somewhere."""

import re
from pathlib import Path

import nbformat
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_the_notebook_runs_and_shows_what_it_says(import_script):
    notebook = import_script("run_notebook").run(nbformat.read(DOCS / "phantom.ipynb", as_version=4))
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") for output in outputs)
    (spline_db, spline_residual), (ours_db, ours_residual) = (
        (float(line[1]), float(line[2])) for line in re.finditer(r"PSNR ([\d.]+) dB, .* residual (\S+)", said)
    )
    assert ours_db > spline_db + 3 and ours_residual < 1e-5 < spline_residual
    assert 80 < float(re.search(r"holds (\d+) %", said)[1]) < 99
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3


def test_the_page_of_keys_is_that_of_the_configurations(import_script, tmp_path, monkeypatch):
    page = import_script("keys_page")
    kept = page.PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr(page, "PAGE", tmp_path / "keys.md")
    page.write_page()
    assert (tmp_path / "keys.md").read_text(encoding="utf-8") == kept, "run python scripts/keys_page.py"


def test_every_page_is_in_the_site():
    listed = {
        name
        for block in re.findall(r"```{toctree}\n(.*?)```", (DOCS / "index.md").read_text(), re.S)
        for name in block.split()
        if not name.startswith(":")
    }
    assert {page.stem for page in (*DOCS.glob("*.md"), *DOCS.glob("*.ipynb"))} - {"index"} <= listed
