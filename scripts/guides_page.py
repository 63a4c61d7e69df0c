"""Write the tables of docs/guides.md anew from docs/results/guide*.csv."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from focvs.files import write_atomically
from speed_tables import read

PAGE = Path(__file__).resolve().parents[1] / "docs" / "guides.md"
BEGINNING, END = "<!-- guides -->", "<!-- end of guides -->"
SIMULATED = ("spline + replacement", "guided filter", "guided filter, 1 mm off", "guide, 1 mm off", "guide")
REAL = ("spline", "guided filter", "guide")
PLAIN = "no guide"


def main() -> None:
    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGINNING)
    tables = "\n\n".join([*gains(), lesions(), intervals(), samples()])
    text = head + BEGINNING + "\n\n" + tables + "\n\n" + END + rest.split(END)[1]
    write_atomically(PAGE, ".md", lambda part: part.write_text(text, encoding="utf-8"))


def gains() -> list[str]:
    """What was measured, in words, and dB and SSIM against no guide: the mean of simulated pairs, each real one."""
    simulated: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    real: dict[tuple[str, str], dict[str, list[tuple[float, float]]]] = defaultdict(lambda: defaultdict(list))
    for row in read("guides"):
        kind = row["pair"].split()[0]
        name = {"tissue": "tissues, T1w for T2w and FLAIR", "labels": "label maps, any for any"}.get(kind)
        found = simulated[name, row["slices_mm"]] if name else real[row["pair"], row["slices_mm"]]
        found[row["method"]].append((float(row["psnr_db"]), float(row["ssim"])))
    words = [
        "## What it gains\n\nSimulated pairs, mean over heads: tissues with T1w guides that have texture, bias field "
        "and noise of their own, and label maps that no training saw in two random contrasts. dB (and SSIM) above the "
        "same prior without a guide; 1 mm off along a diagonal.",
        table(simulated, SIMULATED, len(next(iter(simulated.values()))[PLAIN])),
        "Real scans of one head, registered by the command. Every second or third slice is kept, so that slices which "
        "were measured and left out are the truth.",
        table(real, REAL),
    ]
    return words


def table(
    rows: dict[tuple[str, str], dict[str, list[tuple[float, float]]]], methods: tuple[str, ...], heads: int = 1
) -> str:
    lines = [
        f"| pair | slices, mm | {PLAIN}, dB | {' | '.join(methods)} |",
        "|" + "---|" * (3 + len(methods)),
    ]
    for (pair, slices), found in sorted(rows.items(), key=lambda item: (item[0][0], float(item[0][1].split(":")[1]))):
        plain = mean(found[PLAIN])
        cells = [f"{mean(found[m])[0] - plain[0]:+.2f} ({mean(found[m])[1] - plain[1]:+.3f})" for m in methods]
        lines.append(
            f"| {pair.replace('_', ' ')} | {slices.replace(':', ' every ')} | {plain[0]:.2f} | {' | '.join(cells)} |"
        )
    return "\n".join(lines)


def mean(values: list[tuple[float, float]]) -> tuple[float, float]:
    return sum(v[0] for v in values) / len(values), sum(v[1] for v in values) / len(values)


def intervals() -> str:
    """What q05 to q95 hold, and spread over error: the mean of pairs."""
    lines = [
        "Intervals of the same pairs (`scripts/guide_intervals.py`): how much of the head lies between "
        "`q05` and `q95`, of which 90 % should, the spread over the error, and the rank correlation of both. Of the "
        "real pair intervals of voxels are held against the slices of 2.5 mm that were left out, whose errors are "
        "smaller and which have noise of their own: compare its two rows with each other.\n",
        "| pairs | guide | held | spread over error | rank correlation |",
        "|---|---|---|---|---|",
    ]
    found = of_pairs("guide_intervals", ("held_percent", "spread_over_error", "rank_correlation"))
    for (kind, guide), (share, spread, rank) in found.items():
        lines.append(f"| {kind} | {guide} | {share:.1f} % | {spread:.2f} | {rank:.2f} |")
    return "\n".join(lines)


def samples() -> str:
    """How samples spread, and what their own intervals hold: the mean of pairs."""
    lines = [
        "Four samples of the same pairs (`scripts/guide_samples.py`): their spread over the error of their mean, and "
        "what intervals of Student's t of their own deviation hold, without any factor.\n",
        "| pairs | guide | spread over error | held by 90 % |",
        "|---|---|---|---|",
    ]
    for (kind, guide), (spread, share) in of_pairs("guide_samples", ("spread_over_error", "held_percent")).items():
        lines.append(f"| {kind} | {guide} | {spread:.2f} | {share:.1f} % |")
    return "\n".join(lines)


def of_pairs(name: str, keys: tuple[str, ...]) -> dict[tuple[str, str], list[float]]:
    """Means over pairs and slices of columns of a CSV file, by kind of pair and guide."""
    found: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for row in read(name):
        kind = {"tissue": "tissues", "labels": "label maps"}.get(row["pair"].split()[0], row["pair"].replace("_", " "))
        found[kind, row["guide"]].append([float(row[key]) for key in keys])
    return {of: [sum(each) / len(values) for each in zip(*values, strict=True)] for of, values in found.items()}


def lesions() -> str:
    lines = [
        "Bright balls, eight at a time, in T2w and FLAIR heads of tissues with T1w guides, slices of 5 mm every 6 mm. "
        "Contrast of those that only the scan has, as a share of the truth, and what is painted of those that only the "
        "guide has, as a share of their contrast there.\n",
        "| diameter, mm | only in the scan: kept without guide | with guide | only in the guide: painted |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {' | '.join(v + (' %' if k != 'diameter_mm' else '') for k, v in r.items())} |"
        for r in read("guide_lesions")
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
