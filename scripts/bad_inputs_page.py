"""Write docs/bad_inputs.md: run every bad input of tests/bad_inputs.py and note what is said.

python scripts/bad_inputs_page.py
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from bad_inputs import BAD_INPUTS, shortened  # noqa: E402
from focvs.cli import main  # noqa: E402

HEADER = """\
# What is said of input that cannot be worked with

Every sentence below is what `focvs` printed, paths shortened; a test holds the program to each, to its exit code
(1 a job failed, 2 usage), and to leaving no file behind. Made by `python scripts/bad_inputs_page.py`.

| given | exit | said |
|---|---|---|
"""


def write_page() -> None:
    rows = []
    for case in BAD_INPUTS.values():
        with tempfile.TemporaryDirectory() as name:
            words = case.words(Path(name))
            with contextlib.redirect_stderr(io.StringIO()) as said:
                code = main(words)
        line = next(line for line in said.getvalue().splitlines() if line.startswith("focvs: "))
        rows.append(f"| {case.what} | {code} | `{shortened(line, Path(name))}` |\n")
    (ROOT / "docs" / "bad_inputs.md").write_text(HEADER + "".join(rows))


if __name__ == "__main__":
    write_page()
