"""Rows of the CSV files in docs/results as lines of Markdown tables, for ``scripts/results_page.py``."""

from __future__ import annotations

import statistics
from collections import Counter

from focvs.evaluation.lesions import SIZES_ML

Rows = list[dict[str, str]]
UNSEEN = {"adi_T1w", "ms07_FLAIR"}  # heads that no constant was measured on


def as_table(header: list[str], body: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *body)]


def slices_text(slices: str) -> str:
    thickness, spacing = slices.split(":")
    return f"{thickness} mm" if thickness == spacing else f"{thickness} mm every {spacing}"


def over_seeds(rows: Rows, column: str, digits: int) -> str:
    """Mean, and deviation over seeds where it shows."""
    values = [float(row[column]) for row in rows]
    mean = f"{statistics.mean(values):.{digits}f}"
    spread = round(statistics.stdev(values), digits) if len(values) > 1 else 0.0
    return f"{mean} ± {spread:.{digits}f}" if spread else mean


def methods_table(rows: Rows) -> list[str]:
    """A line for each head and acquisition, a column for each method."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    cases: dict[tuple[str, str], dict[str, Rows]] = {}
    for row in rows:
        cases.setdefault((row["truth"], row["slices"]), {}).setdefault(row["method"], []).append(row)
    body = []
    heads = list(dict.fromkeys(truth for truth, _ in cases))

    def order(case: tuple[str, str]) -> tuple[int, float, float]:
        thickness, spacing = map(float, case[1].split(":"))
        return heads.index(case[0]), spacing, thickness

    for truth, slices in sorted(cases, key=order):
        found = cases[truth, slices]
        repeated = {
            method: sorted((row["seed"], row["noise"], row["box"]) for row in some) for method, some in found.items()
        }
        if len({str(seeds) for seeds in repeated.values()}) > 1:
            raise ValueError(f"{truth}, {slices}: methods differ in seeds, noise or box: {repeated}")
        line = [truth.replace("_", " "), slices_text(slices)]
        best = max(statistics.mean(float(row["psnr_db"]) for row in some) for some in found.values())
        for method in methods:
            if method not in found:
                line.append("")
                continue
            psnr, ssim = over_seeds(found[method], "psnr_db", 2), over_seeds(found[method], "ssim", 3)
            top = statistics.mean(float(row["psnr_db"]) for row in found[method]) == best
            line.append(f"**{psnr}**, {ssim}" if top else f"{psnr}, {ssim}")
        body.append(line)
    took = []
    for method in methods:
        seconds = [float(row["seconds"]) for row in rows if row["method"] == method]
        if known := [value for value in seconds if value > 0]:  # nan where it was not measured
            took.append(f"{method} {statistics.median(known):.0f}")
    said = ["", f"Median seconds: {', '.join(took)}."] if took else []
    return [*as_table(["head", "slices", *methods], body), *said]


def ranked_table(rows: Rows) -> list[str]:
    """:func:`methods_table` of one seed, and in how many lines each method is the best."""
    return [*methods_table(rows), "", f"Highest PSNR: {firsts(rows, 'psnr_db')}; highest SSIM: {firsts(rows, 'ssim')}."]


def firsts(rows: Rows, column: str) -> str:
    """The methods that are the best of a head and acquisition, and how often."""
    cases: dict[tuple[str, str], Rows] = {}
    for row in rows:
        cases.setdefault((row["truth"], row["slices"]), []).append(row)
    best = Counter(max(some, key=lambda row: float(row[column]))["method"] for some in cases.values())
    return ", ".join(f"{method} in {count} of {len(cases)}" for method, count in best.most_common())


def adaptation_table(rows: Rows) -> list[str]:
    """:func:`methods_table`, and what adaptation gains in the median over heads and acquisitions."""
    psnr: dict[tuple[str, str, str], list[float]] = {}
    for row in rows:
        psnr.setdefault((row["truth"], row["slices"], row["method"]), []).append(float(row["psnr_db"]))
    means = {case: statistics.mean(some) for case, some in psnr.items()}  # over seeds
    gains = [value - means[*case, "FOCVS"] for (*case, name), value in means.items() if name == "adapted"]
    median, least, most = (f"{gain:+.2f}" for gain in (statistics.median(gains), min(gains), max(gains)))
    return [*methods_table(rows), "", f"Adaptation gains {median} dB in the median ({least} to {most})."]


def thickness_table(rows: Rows) -> list[str]:
    """:func:`methods_table`, and what other thicknesses than the true one lose in the median."""
    psnr = {(row["truth"], row["slices"], row["seed"], row["method"]): float(row["psnr_db"]) for row in rows}
    cases = [tuple(case) for *case, name in psnr if name == "true"]
    gaps = [case for case in cases if len(set(case[1].split(":"))) == 2]  # without, the header is right

    def lost(method: str, some: list[tuple[str, ...]]) -> str:
        losses = [psnr[*case, "true"] - psnr[*case, method] for case in some]
        return f"{method} {statistics.median(losses):.2f} dB (at most {max(losses):.2f})"

    said = f"Lost in the median: {lost('estimated', cases)}"
    if gaps:
        said += f"; where there are gaps {lost('estimated', gaps)}, {lost('header', gaps)}"
    return [*methods_table(rows), "", f"{said}."]


def uncertainty_table(rows: Rows) -> list[str]:
    levels = ("0.5", "0.8", "0.9", "0.95")
    held = [f"{when} {float(level):.0%}" for when in ("before", "after") for level in levels]
    header = ["head", "slices", "noise", "samples", *held]
    header += ["scale", "CRPS before", "after", "spread over skill", "rank correlation"]
    body = []
    for row in rows:
        held = [f"{100 * float(row[f'{when}_{level}']):.1f}" for when in ("before", "after") for level in levels]
        crps = [f"{float(row[key]):.4f}" for key in ("crps_samples", "crps_after")]
        rest = [f"{float(row[key]):.2f}" for key in ("spread_skill", "rank_predictive")]
        line = [row["truth"].replace("_", " "), slices_text(row["slices"]), f"{100 * float(row['noise']):g} %"]
        body.append([*line, row["samples"], *held, f"{float(row['scale']):.2f}", *crps, *rest])
    return as_table(header, body)


def by_case(rows: Rows, *keys: str) -> dict[tuple[str, ...], dict[str, str]]:
    """Rows by head, slices, method and further columns.

    Raises:
        ValueError: for two of a case, or cases that were judged differently.
    """
    found = {}
    for row in rows:
        case = tuple(row[key] for key in ("truth", "slices", "method", *keys))
        if case in found:
            raise ValueError(f"two rows are of {', '.join(case)}")
        found[case] = row
    for truth in {row["truth"] for row in rows}:
        ways = {(row["noise"], row["box"], row["judged_by"]) for row in rows if row["truth"] == truth}
        if len(ways) > 1:
            raise ValueError(f"{truth}: rows differ in noise, box or what judged them: {ways}")
    return found


def noise_table(rows: Rows) -> list[str]:
    """:func:`methods_table` of every noise in turn, with a column that says which."""
    lines: list[str] = []
    for noise in dict.fromkeys(row["noise"] for row in rows):
        header, rule, *body = (
            line for line in methods_table([row for row in rows if row["noise"] == noise]) if line.startswith("|")
        )
        level, _, kind = noise.partition(" ")
        lines += [] if lines else [f"| noise {header}", f"| --- {rule}"]
        name = f"{100 * float(level):g} % {kind}".strip()
        lines += [f"| {name} {line}" for line in body]
    return lines


def stacks_table(rows: Rows) -> list[str]:
    """A line for each head and method."""
    body = [
        [
            row["truth"].replace("_", " "),
            row["method"],
            f"{float(row['psnr_db']):.2f}, {float(row['ssim']):.3f}",
            f"{float(row['seconds']):.0f}" if float(row["seconds"]) else "",
            row["second_residual"],
        ]
        for row in rows
    ]
    return as_table(["head", "method", "PSNR, SSIM", "seconds", "residual of the second stack"], body)


def contrast_table(rows: Rows) -> list[str]:
    """A line for each lesion."""
    body = [
        [
            row["scan"].replace("_", " "),
            row["lesions"],
            row["volume_ml"],
            *(f"{float(row[k]):.2f}" for k in list(row)[3:]),
        ]
        for row in rows
    ]
    return as_table(["scan", "of the median", "ml", "contrast in the scan", "in the result"], body)


def denoising_table(rows: Rows) -> list[str]:
    """A line for each head, prior and what it is shown."""
    levels = [key for key in rows[0] if key.startswith("sigma_")]
    body = [
        [
            row["truth"].replace("_", " "),
            row["prior"],
            row["shown"],
            *(row[key] for key in (*levels, "interpolated", "gain_db")),
        ]
        for row in rows
    ]
    header = ["head", "prior", "shown", *(f"sigma {key.removeprefix('sigma_')}" for key in levels)]
    return as_table([*header, "interpolated scan", "gain over it, dB"], body)


def tissues_table(rows: Rows) -> list[str]:
    """A line for each case and method, Dice and volume error of each class."""
    classes = list(dict.fromkeys(row["class"] for row in rows))
    found, body = by_case(rows, "class"), []
    for case in dict.fromkeys(case[:3] for case in found):
        some = [found[*case, name] for name in classes if (*case, name) in found]
        cells = [f"{float(row['dice']):.3f}, {100 * float(row['volume_error']):+.1f} %" for row in some]
        mean = statistics.mean(float(row["dice"]) for row in some)
        body.append([case[0].replace("_", " "), slices_text(case[1]), case[2], *cells, f"{mean:.3f}"])
    return as_table(["head", "slices", "method", *(f"class {c}: Dice, volume" for c in classes), "mean Dice"], body)


def lesions_table(rows: Rows) -> list[str]:
    """A line for each case, size and method, the smallest lesions first."""
    keys = ("contrast", "contrast_kept", "volume_kept", "erased", "invented")
    body = []
    sizes = list(SIZES_ML)
    order = sorted(by_case(rows, "size").items(), key=lambda item: (item[0][:2], sizes.index(item[0][3])))
    for (truth, slices, method, size), row in order:
        line = [truth.replace("_", " "), slices_text(slices), size, f"{float(row['lesions']):.0f}", method]
        body.append([*line, *(f"{float(row[key]):.2f}" for key in keys)])
    return as_table(["head", "slices", "size", "lesions", "method", *(key.replace("_", " ") for key in keys)], body)


def peers_table(rows: Rows) -> list[str]:
    def number(text: str, digits: str) -> str:
        return text if text in ("-", "") else f"{float(text):{digits}}"

    body = [
        [
            row["truth"].replace("_", " "),
            slices_text(row["slices"]),
            row["method"],
            f"{number(row['psnr_db'], '.2f')}, {number(row['ssim'], '.3f')}",
            number(row["seconds"], ".0f"),
            number(row["memory_mib"], ".0f"),
            number(row["residual"], ".1e"),
            row["header"],
            row["budget"],
        ]
        for row in rows
    ]
    return as_table(
        ["head", "slices", "method", "PSNR, SSIM", "seconds", "MiB", "residual", "header", "budget"],
        body,
    )


def deepinv_table(rows: Rows) -> list[str]:
    header = ["method", "evaluations of the network", "PSNR", "seconds a step", "of them outside the network"]
    body = [
        [
            row["method"],
            row["steps"],
            f"{float(row['psnr_db']):.2f}",
            f"{float(row['seconds_per_step']):.2f}",
            f"{float(row['outside_network']):.3f}",
        ]
        for row in rows
    ]
    return as_table(header, body)
