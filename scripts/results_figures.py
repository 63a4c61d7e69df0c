"""Rows of the CSV files in docs/results as figures, for ``scripts/results_page.py``."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from results_tables import Rows, slices_text


def baselines_figure(rows: Rows) -> plt.Figure:
    """PSNR against the spacing of the slices, a panel for each head; slices without gaps only."""
    heads = list(dict.fromkeys(row["truth"] for row in rows))
    figure, axes = plt.subplots(1, len(heads), figsize=(10, 4), constrained_layout=True, squeeze=False)
    for head, panel in zip(heads, axes[0], strict=True):
        curves: dict[str, list[tuple[float, float]]] = {}
        for row in rows:
            thickness, spacing = map(float, row["slices"].split(":"))
            if row["truth"] == head and thickness == spacing:
                curves.setdefault(row["method"], []).append((spacing, float(row["psnr_db"])))
        panel.set_prop_cycle(color=plt.get_cmap("tab20").colors)
        for method, points in curves.items():
            spacings, scores = zip(*sorted(points), strict=True)
            look = {"lw": 2.5, "color": "black"} if method == "FOCVS" else {"lw": 1}
            panel.plot(spacings, scores, "o-", ms=3, label=method, **look)
        panel.set(title=head.replace("_", " "), xlabel="slices of, mm", ylabel="PSNR, dB")
        panel.grid(alpha=0.3)
    figure.legend(*axes[0, -1].get_legend_handles_labels(), loc="outside right center", fontsize=8)
    return figure


def reliability_figure(rows: Rows) -> plt.Figure:
    """What intervals hold against what they say, before (dashed) and after, of the most samples; a panel a head."""
    most = max(rows, key=lambda row: int(row["samples"]))["samples"]
    heads = list(dict.fromkeys(row["truth"] for row in rows))
    figure, axes = plt.subplots(1, len(heads), figsize=(9, 4.2), constrained_layout=True, sharey=True, squeeze=False)
    for head, panel in zip(heads, axes[0], strict=True):
        panel.plot([0.4, 1], [0.4, 1], color="0.7", lw=1)
        some = [row for row in rows if row["truth"] == head and row["samples"] == most]
        for i, row in enumerate(some):
            levels = [key.removeprefix("after_") for key in row if key.startswith("after_")]
            noise = f", noise {100 * float(row['noise']):g} %" if float(row["noise"]) else ""
            for when, look in (("before", "--o"), ("after", "-o")):
                held = [float(row[f"{when}_{level}"]) for level in levels]
                label = f"{slices_text(row['slices'])}{noise}" if when == "after" else None
                panel.plot([float(level) for level in levels], held, look, ms=4, color=f"C{i}", label=label)
        panel.set(title=f"{head.replace('_', ' ')}, {most} samples", xlabel="interval", xlim=(0.45, 1), ylim=(0, 1))
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8, frameon=False)
    axes[0, 0].set_ylabel("share of the head's voxels it holds; dashed: before")
    return figure
