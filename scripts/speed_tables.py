"""Write the tables of docs/speed.md, quality.md and scans.md anew from the CSV files of docs/results.

python scripts/speed_tables.py

Tables are found by their header lines; the text around them is left as it is.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

from focvs.scan.pass_field import CLEAR

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"
SHOWN = ("adi_T1w", "ms07_FLAIR", "arc2265_T2w")  # heads of docs/quality.md, in order


def read(name: str) -> list[dict[str, str]]:
    """Rows of a CSV file of docs/results."""
    with (RESULTS / f"{name}.csv").open() as stream:
        return list(csv.DictReader(stream))


def with_table(text: str, header: str, rows: Iterable[str]) -> str:
    """A text whose table of a header has other rows.

    Raises:
        ValueError: if no line begins with the header.
    """
    lines = text.split("\n")
    first = next((i for i, line in enumerate(lines) if line.startswith(header)), None)
    if first is None:
        raise ValueError(f"no table begins with {header!r}")
    end = first + 2
    while end < len(lines) and lines[end].startswith("|"):
        end += 1
    return "\n".join([*lines[: first + 2], *rows, *lines[end:]])


def named(truth: str) -> str:
    return truth.replace("_", " ")


def percent(value: str, digits: int = 1) -> str:
    return f"{100 * float(value):.{digits}f} %"


def deviations() -> list[str]:
    return [
        f"| {named(r['truth'])} | {r['slices'].replace(':', ', ')} | {100 * float(r['noise']):g} % | "
        f"{float(r['spread_over_error']):.2f} | {percent(r['held_normal'])} | {percent(r['held_stored'])} | "
        f"{float(r['rank_correlation']):.2f} of {float(r['rank_correlation_if_right']):.2f} |"
        for r in read("mean")
    ]


def gains(before: dict[tuple[str, str], str]) -> list[str]:
    """Rows of docs/quality.md; ``before`` has its last column by head and slices."""
    found = {(r["truth"], r["slices"], float(r["noise"])): float(r["gain_db"]) for r in read("mean")}
    whole = {(r["truth"], r["slices"]): float(r["gain_db"]) for r in read("mean_whole")}
    slices = list(dict.fromkeys(words for _, words, _ in found))
    rows = []
    for truth in SHOWN:
        for words in slices:
            key = (named(truth), words.replace(":", ", "))
            noisy, clean = (found[truth, words, noise] for noise in (0.01, 0.0))
            rows.append(
                f"| {key[0]} | {key[1]} | **{whole[truth, words]:+.2f}** | {noisy:+.2f} | {clean:+.2f} | "
                f"{before.get(key, '')} |"
            )
    return rows


def curve() -> list[str]:
    rows = read("curve")
    heads = list(dict.fromkeys(r["truth"] for r in rows))
    out = []
    for run in dict.fromkeys(r["run"] for r in rows):
        pair = [next(r for r in rows if (r["run"], r["truth"]) == (run, head)) for head in heads]
        scores = [f"{float(r['gain_db']):+.2f}, {float(r['ssim']):.3f}, {float(r['sharpness']):.2f}" for r in pair]
        seconds = ", ".join(f"{float(r['seconds']):.1f}" for r in pair)
        out.append(f"| {run} | {pair[0]['evaluations']} | {' | '.join(scores)} | {seconds} |")
    return out


def minutes() -> list[str]:
    keys = ("network_s", "replacement_s", "probe_and_weights_s", "calibration_s", "start_s", "rest_s", "memory_mib")
    return [
        f"| {r['quality']} | {r['evaluations']} | **{r['total_s']}** | {' | '.join(r[key] for key in keys)} |"
        for r in read("speed")
    ]


def samples() -> list[str]:
    return [
        f"| {named(r['truth'])} | {r['slices'].replace(':', ', ')}, {100 * float(r['noise']):g} % | "
        f"{float(r['spread_over_error']):.2f} | {percent(r['held'], 0)} | "
        f"{float(r['outside']):.1f} | {float(r['power_sample']):.2f}, {float(r['power_mean']):.2f} | "
        f"{float(r['rank_correlation']):.2f}, {float(r['rank_correlation_told']):.2f} | "
        f"{', '.join(f'{float(r[key]):+.2f}' for key in ('gain_mean_db', 'gain_of_samples_db', 'gain_sample_db'))} |"
        for r in read("samples")
    ]


def passes() -> list[str]:
    """Medians over heads, by slices and strength of the field."""
    cases: dict[tuple[str, str], list[dict[str, str]]] = {}
    for row in read("passes"):
        words = (
            row["thickness_mm"]
            if row["spacing_mm"] == row["thickness_mm"]
            else f"{row['thickness_mm']}, {row['spacing_mm']}"
        )
        cases.setdefault((words, row["strength"]), []).append(row)

    def median(rows: list[dict[str, str]], key: str) -> float:
        values = sorted(float(row[key]) for row in rows)
        return (values[(len(values) - 1) // 2] + values[len(values) // 2]) / 2

    out = []
    for (words, strength), rows in cases.items():
        evened = sum(float(row["evidence"]) > CLEAR for row in rows)
        out.append(
            f"| {words} mm | {100 * float(strength):g} % | {median(rows, 'evidence'):.2f} | {evened} of {len(rows)} | "
            f"{100 * median(rows, 'before'):.2f} % | {100 * median(rows, 'after'):.2f} % | "
            f"{median(rows, 'psnr_before'):.2f} | {median(rows, 'psnr_after'):.2f} |"
        )
    return out


def passes_of_scans() -> list[str]:
    return [
        f"| {named(r['scan'])} | {float(r['evidence']):.2f} | "
        + (f"{percent(r['field'], 2)} | " if r["evened"] == "True" else "even | ")
        + f"{percent(r['lines_before'], 2)} | {percent(r['lines_after'], 2)} |"
        for r in read("passes_scans")
    ]


def negative() -> list[str]:
    out = []
    for r in read("negative"):
        psnr = f"{float(r['psnr_before']):.3f}, {float(r['psnr_after']):.3f}" if r["psnr_before"] else ""
        pairs = [
            ", ".join(f"{100 * float(r[f'{key}_{when}']):.1f} %" for when in ("before", "after"))
            for key in ("negative", "lowest", "highest")
        ]
        when = ("before", "after", "truth")
        pairs.append(", ".join(percent(r[f"ringing_{w}"], 2) for w in when if r[f"ringing_{w}"]))
        residual = ", ".join(f"{float(r[f'residual_{when}']):.0e}" for when in ("before", "after"))
        out.append(f"| {named(r['scan'])} | {' | '.join(pairs)} | {residual} | {psnr} | {r['seconds']} |")
    return out


def main() -> None:
    page = ROOT / "docs" / "speed.md"
    text = page.read_text()
    for header, rows in (
        ("| quality | evaluations | whole, s |", minutes()),
        ("| run | evaluations |", curve()),
        ("| head | slices (mm) | noise | spread over error |", deviations()),
        ("| head | slices (mm), noise | spread over error | held by 90 % |", samples()),
    ):
        text = with_table(text, header, rows)
    page.write_text(text)
    page = ROOT / "docs" / "quality.md"
    text, header = page.read_text(), "| head | slices: thickness, spacing (mm) |"
    old = text[text.index(header) :].split("\n\n")[0].split("\n")[2:]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in old]
    page.write_text(with_table(text, header, gains({(c[0], c[1]): c[-1] for c in cells})))
    page = ROOT / "docs" / "scans.md"
    text = with_table(page.read_text(), "| slices | field |", passes())
    text = with_table(text, "| scan | evidence |", passes_of_scans())
    page.write_text(with_table(text, "| scan | below zero |", negative()))


if __name__ == "__main__":
    main()
