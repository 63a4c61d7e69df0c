"""Tables of docs/qmri.md from what scripts/benchmark_qmri.py wrote: python scripts/qmri_tables.py CSV [CSV ...]

Means over all heads; of lesions as well, from CSVs that have them.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

NAMES, PLACES = ("pd", "t1", "t2"), ("grey", "white", "border")
Row = dict[str, str]


def mean(rows: list[Row], key: str) -> float:
    values = [float(row[key]) for row in rows]
    return sum(values) / len(values)


def cell(rows: list[Row], keys: list[str], digits: int = 1) -> str:
    return ", ".join(f"{mean(rows, key):.{digits}f}" for key in keys)


def by_method(rows: list[Row]) -> dict[str, list[Row]]:
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["method"]].append(row)
    return groups


def errors(rows: list[Row]) -> None:
    """Root mean square errors, the unseen FLAIR, and the residual."""
    print("| method | PD: grey, white, border | T1 | T2 | FLAIR, SSIM | residual |\n|---|---|---|---|---|---|")
    for method, group in by_method(rows).items():
        cells = [cell(group, [f"{name}_{place}_rmse" for place in PLACES]) for name in NAMES]
        print(f"| {method} | {' | '.join(cells)} | {mean(group, 'flair_ssim'):.2f} | {mean(group, 'residual'):.0e} |")


def details(rows: list[Row]) -> None:
    """Biases, structural similarity, high-frequency errors, and deviations."""
    print("| method | bias, T1: grey, white, border | T2 | SSIM: PD, T1, T2 | HFEN | deviation / error | within 90 % |")
    print("|---|---|---|---|---|---|---|")
    for method, group in by_method(rows).items():
        cells = [cell(group, [f"{name}_{place}_bias" for place in PLACES]) for name in ("t1", "t2")]
        cells += [cell(group, [f"{name}_{key}" for name in NAMES], 2) for key in ("ssim", "hfen")]
        if group[0]["pd_deviation"] == "nan":
            cells += ["", ""]
        else:
            cells.append(cell(group, [f"{name}_deviation" for name in NAMES], 2))
            cells.append(cell(group, [f"{name}_within_90" for name in NAMES], 0))
        print(f"| {method} | {' | '.join(cells)} |")


def lesions(rows: list[Row]) -> None:
    """What is seen of lesions."""
    print("| lesion | T1 | T2 |\n|---|---|---|")
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["lesion"]].append(row)
    for name, group in groups.items():
        print(f"| {name} | {mean(group, 't1_percent'):.0f} % | {mean(group, 't2_percent'):.0f} % |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("csv", nargs="+", type=Path)
    rows = [row for path in parser.parse_args().csv for row in csv.DictReader(path.open())]
    measured = [row for row in rows if "method" in row]
    for acquisition in dict.fromkeys(row["acquisition"] for row in measured):
        of_it = [row for row in measured if row["acquisition"] == acquisition]
        print(f"\n{acquisition}, {len({row['seed'] for row in of_it})} heads\n")
        errors(of_it)
        print()
        details(of_it)
    if ill := [row for row in rows if "lesion" in row]:
        print(f"\nlesions, {len({row['seed'] for row in ill})} heads\n")
        lesions(ill)


if __name__ == "__main__":
    main()
