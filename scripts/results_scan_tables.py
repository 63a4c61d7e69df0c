"""Tables of what was found in scans (profile, noise, brightness of slices), for ``scripts/results_page.py``."""

from __future__ import annotations

from benchmark_gains import summarise as summarise_gains
from benchmark_noise import summarise as summarise_noise
from benchmark_profile import ASSUMED, summarise
from results_tables import UNSEEN, Rows, as_table, slices_text


def profile_table(rows: Rows) -> list[str]:
    """A line for each acquisition, and for all."""
    cases: dict[str, Rows] = {}
    for row in rows:
        slices = slices_text(f"{row['fwhm_mm']}:{row['spacing_mm']}")
        cases.setdefault(f"{row['shape']}, {slices}", []).append(row)
    heads = sorted({row["truth"] for row in rows} & UNSEEN)
    cases["all"] = rows
    cases[f"all of {' and '.join(heads)}"] = [row for row in rows if row["truth"] in heads]
    body = []
    for name, some in cases.items():
        line = [name]
        for assumed in ASSUMED:
            asked = [row for row in some if row["assumed"] == assumed]
            error, held, answered = summarise(asked)
            line += [f"{100 * error:.1f} %", f"{100 * held:.0f} %"] if answered else ["-", "-"]
            line.append(f"{answered} of {len(asked)}")
        body.append(line)
    header = [f"{assumed}: {what}" for assumed in ASSUMED for what in ("median error", "interval holds", "answered")]
    return as_table(["slices", *header], body)


def noise_found_table(rows: Rows) -> list[str]:
    """A line for each place and kind, and for each place alone."""
    body = []
    for where in dict.fromkeys(row["where"] for row in rows):
        kinds = list(dict.fromkeys(row["kind"] for row in rows if row["where"] == where))
        for kind in (*kinds, "both"):
            some = [
                row for row in rows if row["where"] == where and row["kind"] in (kinds if kind == "both" else [kind])
            ]
            within, answered, asked, worst = summarise_noise(some)
            body.append([where, kind, f"{within} of {answered}", f"{100 * worst:.0f} %", str(asked - answered)])
    return as_table(["where", "noise", "within 15 %", "worst", "no answer"], body)


def gains_table(rows: Rows) -> list[str]:
    """A line for each acquisition and kind of gains."""
    body = [
        [
            slices_text(f"{thickness:g}:{spacing:g}"),
            kind,
            f"{found['passes']} of {found['scans']}",
            f"{found['slices']} of {found['scans']}",
            f"{100 * found['before']:.2f} %",
            f"{100 * found['after']:.2f} %",
        ]
        for (thickness, spacing, kind), found in summarise_gains(rows).items()
    ]
    return as_table(["slices", "gains", "passes balanced", "slices balanced", "left before", "left after"], body)
