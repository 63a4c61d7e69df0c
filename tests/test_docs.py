"""Blocks of Python in the documents run as they stand."""

import re
from pathlib import Path

import numpy as np

DOCS = Path(__file__).resolve().parents[1] / "docs"


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
