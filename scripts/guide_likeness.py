"""How much more a guide tells of a scan than its mirror image does, for pairs of one head and of two.

python scripts/guide_likeness.py SCAN GUIDE [GUIDE ...] [--csv docs/results/likeness.csv]

Guides are aligned as ``guide=`` aligns them. What decides whether a guide is refused is printed: the mutual information
within the head, in nats, and that over the one with the mirror image.
"""

from __future__ import annotations

import argparse
import csv
from dataclasses import replace
from pathlib import Path

from focvs.commands.overrides import compose, to_schema
from focvs.files import write_csv
from focvs.reconstruction import guide as guides
from focvs.scan.formats import image_stem
from focvs.scan.scan import read_scan

COLUMNS = ("scan", "guide", "information_nats", "likeness", "overlap")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("guides", type=Path, nargs="+")
    parser.add_argument("--csv", type=Path, help="file that keeps the rows")
    options = parser.parse_args()
    guides.LEAST_LIKENESS = 0.0  # nothing is refused
    scan, config = read_scan(options.scan), to_schema(compose("config", ["scan=x"]))
    rows = []
    if options.csv and options.csv.is_file():
        with options.csv.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
    for path in options.guides:
        found = guides.open_guide(replace(config, guide=str(path)), scan, scan.spacing_mm)
        assert found is not None and found.likeness is not None
        numbers = (f"{found.information:.3f}", f"{found.likeness:.2f}", f"{found.overlap:.3f}")
        names = (image_stem(options.scan), image_stem(path))
        rows = [row for row in rows if (row["scan"], row["guide"]) != names]
        rows.append(dict(zip(COLUMNS, (*names, *numbers), strict=True)))
        print("  ".join((*names, *numbers)), flush=True)
        if options.csv:
            write_csv(options.csv, rows, COLUMNS)


if __name__ == "__main__":
    main()
