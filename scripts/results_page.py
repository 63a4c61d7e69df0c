"""docs/results.md from the tables in docs/results: ``python scripts/results_page.py``.

Every section is made of one CSV that the command printed with it wrote; a section without its file is left out.
"""

from __future__ import annotations

import csv
from pathlib import Path

import matplotlib.pyplot as plt

from results_section import Section
from results_sections import SECTIONS
from results_tables import Rows

ROOT = Path(__file__).resolve().parents[1]
TABLES, PAGE = ROOT / "docs" / "results", ROOT / "docs" / "results.md"
INTRODUCTION = """# Results

Made by `python scripts/results_page.py` from the CSV files in [results/](results), each written by the command under
its heading; `$EVAL` is a folder with a whole-head T1w (adi_T1w, 1 x 1.15 x 1.15 mm) and a skull-stripped FLAIR with MS
lesions (ms07_FLAIR, 1 mm), subjects that nothing was trained, tuned or calibrated on. PSNR in dB and SSIM in the head
mask, intensities scaled by the truth's 99.5th percentile. `$TRAIN` is the training folder. Seconds are those of one
or two CPU cores shared with other work. Versions of all libraries, of the last measurements, are in
[requirements.lock](results/requirements.lock) (`scripts/lock_versions.py`).

FOCVS is the mean (`quality=default`) where head2d, the diffusion prior of before (`quality=samples`), is beside it,
among peers, and for lesions of real scans; in all other sections it is that prior, as their commands say.
"""


def read(section: Section) -> Rows:
    """Its table; none where there is no file."""
    path = TABLES / section.file
    if not path.is_file():
        return []
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def page() -> str:
    """The text of docs/results.md."""
    parts = [INTRODUCTION]
    for section in SECTIONS:
        rows = read(section)
        if not rows:
            continue
        lines = [
            f"## {section.title}",
            "",
            "```",
            section.command.replace("\n    ", " \\\n    "),
            "```",
            "",
            section.text,
            "",
        ]
        lines += section.table(rows)
        if section.draw:
            lines += ["", f"![{section.title}](results/{section.picture})"]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def main() -> None:
    PAGE.write_text(page())
    for section in SECTIONS:
        if section.draw and (rows := read(section)):
            figure = section.draw(rows)
            figure.savefig(TABLES / section.picture, dpi=100)
            plt.close(figure)


if __name__ == "__main__":
    main()
