"""docs/results.md from the tables in docs/results: ``python scripts/results_page.py``.

Every section is made of one CSV that the command printed with it wrote; a section without its file is left out.
"""

from __future__ import annotations

import csv
import statistics
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmark_profile import ASSUMED, summarise

from focvs.evaluation.lesions import SIZES_ML

ROOT = Path(__file__).resolve().parents[1]
TABLES, PAGE = ROOT / "docs" / "results", ROOT / "docs" / "results.md"
Rows = list[dict[str, str]]
UNSEEN = {"adi_T1w", "ms07_FLAIR"}  # heads that no constant was measured on
INTRODUCTION = """# Results

Made by `python scripts/results_page.py` from the CSV files in [results/](results), each written by the command under
its heading; `$EVAL` is a folder with a whole-head T1w (adi_T1w, 1 x 1.15 x 1.15 mm) and a skull-stripped FLAIR with MS
lesions (ms07_FLAIR, 1 mm), subjects that nothing was trained, tuned or calibrated on. PSNR in dB and SSIM in the head
mask, intensities scaled by the truth's 99.5th percentile. `$TRAIN` is the training folder. Seconds are those of one
or two CPU cores shared with other work.
"""


@dataclass(frozen=True)
class Section:
    """A heading, the file it is made of, how that was made, what is to be seen, and how rows become lines."""

    title: str
    file: str
    command: str
    text: str
    table: Callable[[Rows], list[str]]
    picture: str = ""


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
    """:func:`methods_table`, and what adaptation gains in the median."""
    psnr = {(row["truth"], row["slices"], row["method"]): float(row["psnr_db"]) for row in rows}
    gains = [value - psnr[*case, "FOCVS"] for (*case, name), value in psnr.items() if name == "adapted"]
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


METHODS = (
    '    --run "B-spline: method=spline" --run "B-spline + replacement: method=replaced"\n'
    '    --run "total variation: method=total_variation" --run "self-SR: method=self_super_resolution"\n'
    '    --run "FOCVS: samples=2" --output docs/results'
)
SECTIONS = (
    Section(
        "Quality",
        "quality.csv",
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --noise 0.01 --seeds 0 1 2\n"
        "    --slices 3:3 4:4 4:5.2 5:6.5 6:6 8:8 --box 32 --csv docs/results/quality.csv\n"
        '    --run "FOCVS: samples=2"',
        "The middle 32 voxels from left to right, scans with 1 % noise, mean and standard deviation over three seeds.",
        methods_table,
    ),
    Section(
        "A whole head",
        "whole.csv",
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz --slices 4:4 --csv docs/results/whole.csv\n"
        '    --run "FOCVS:"',
        "All default settings (four samples), no added noise.",
        methods_table,
    ),
    Section(
        "Knowing the slice thickness",
        "thickness.csv",
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --box 32\n"
        "    --slices 4:4 4:5.2 5:6.5 6:6 --csv docs/results/thickness.csv\n"
        '    --run "true: samples=2" --run "estimated: samples=2 thickness=estimate"\n'
        '    --run "header: samples=2 thickness={spacing}"',
        "The same scan restored with its true thickness, with what `thickness=estimate` finds, and with what a header "
        "without it suggests, the spacing.",
        thickness_table,
    ),
    Section(
        "The slice profile from the scan",
        "profile.csv",
        "python scripts/benchmark_profile.py $EVAL/*.nii.gz $TRAIN/isotropic*/*.nii.gz --csv docs/results/profile.csv",
        "Widths (FWHM) found in scans of 15 heads with 1 % noise, by shape, thickness and spacing of their slices: "
        "median absolute error, how often the 95 % interval holds the truth, and how many scans had an answer. How "
        "isotropic heads are was measured on the 13 of `$TRAIN`, so that the last line is the independent one. "
        "The adversarial estimator (`focvs profile method=adversarial`) was run on nine of the 15.",
        profile_table,
    ),
    Section(
        "Methods without a prior, and other rules",
        "baselines.csv",
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --noise 0.01\n"
        "    --slices 3:3 4:4 4:5.2 5:6.5 6:6 8:8 --box 32 --csv docs/results/baselines.csv\n"
        '    --run "nearest: method=nearest" --run "linear: method=linear" --run "A^+ y: method=pseudo_inverse"\n'
        '    --run "total variation: method=total_variation" --run "self-SR: method=self_super_resolution"\n'
        '    --run "implicit: method=implicit_representation" --run "FOCVS: samples=2"\n'
        '    --run "DDNM: samples=2 consistency=ddnm sampler=ddpm steps=12"\n'
        '    --run "DDRM: samples=2 consistency=ddrm sampler=ddpm steps=12"\n'
        '    --run "DiffPIR: samples=2 consistency=diffpir sampler=ddim steps=12"\n'
        '    --run "DPS: samples=2 consistency=none sampler=dps steps=12"',
        "One scan each with 1 % noise, scored in the middle 32 voxels from left to right. Self-super-resolution learns "
        "from the whole scan and restores it; the others restore the middle alone. The rules of the literature have "
        "the prior of FOCVS and as many evaluations of it, 12 a sample; DPS, whose gradient takes long, at 4 mm only. "
        "Where slices are thin, what a network learns on the scan itself may be worth more than what the prior knows "
        "of other heads; `adapt=true` joins both ([Priors](#priors)).",
        ranked_table,
    ),
    Section(
        "Priors",
        "priors.csv",
        "python scripts/benchmark_quality.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --noise 0.01\n"
        "    --slices 3:3 4:4 4:5.2 5:6.5 6:6 8:8 --box 32 --csv docs/results/priors.csv\n"
        '    --run "first version: prior.path=FIRST samples=2 sampler.sigma_end=0.02 sampler.spread=1"\n'
        '    --run "head2d: samples=2" --run "head2d, adapted: samples=2 adapt=true"',
        "The first version's prior (`git show 0ed85d7~1:checkpoints/head2d/FILE` for its three files; unconditional, "
        "slices alone) with the settings it was made for, the shipped one, and that one fine-tuned on the whole scan's "
        "own slices first (300 steps; not measured at every acquisition). One scan each with 1 % noise, the middle 32 "
        "voxels from left to right.",
        methods_table,
    ),
    Section(
        "Adaptation, on heads kept out of training",
        "adaptation.csv",
        "python scripts/benchmark_quality.py $TRAIN/isotropic/uih2_T1w.nii.gz\n"
        "    $TRAIN/isotropic_stripped/ms26_FLAIR.nii.gz --noise 0.01 --slices 3:3 4:4 6:6 --box 32\n"
        '    --csv docs/results/adaptation.csv --run "FOCVS: samples=2" --run "adapted: samples=2 adapt=true"',
        "Whether `adapt=true` should be on by default was decided on these two heads, kept out of training for such "
        "choices.",
        adaptation_table,
    ),
    Section(
        "Three stages",
        "three_stage.csv",
        "python scripts/three_stage.py $TRAIN/isotropic/uih2_T1w.nii.gz runs/three --steps 600 --decay 200 --box 32\n"
        "    --csv docs/results/three_stage.csv -- samples=2",
        "Generic pre-training on synthetic images, fine-tuning on MRI, self-supervision on the scan itself "
        "(`scripts/three_stage.py`): each alone, and one after the other. Each of the first two stages is 600 steps of "
        "12 patches, about 20 minutes on one core, a small fraction of what the shipped prior had; the third 300 steps "
        "of 8. uih2 is kept out of all of them.",
        methods_table,
    ),
    Section(
        "Classes of intensity",
        "tissues.csv",
        "python scripts/benchmark_downstream.py $EVAL/adi_T1w.nii.gz --slices 4:4 6:6 --noise 0.01 --box 64\n"
        f"    --tissues 3\n{METHODS}",
        "Truth and estimates segmented alike, by a Gaussian mixture with a Markov random field, from the darkest class "
        "to the brightest: Dice with the truth's own classes, and the error of the volume. Scans with 1 % noise, the "
        "middle 64 voxels from left to right, scalp and fat among the classes.",
        tissues_table,
    ),
    Section(
        "Lesions",
        "lesions.csv",
        "python scripts/benchmark_downstream.py ms26_FLAIR.nii.gz --slices 4:4 6:6 --noise 0.01 --lesions bright\n"
        f"    --lesions-above 1.3\n{METHODS}\n"
        "python scripts/benchmark_downstream.py $EVAL/ms07_FLAIR.nii.gz --slices 4:4 ...",
        "A FLAIR kept out of training for choices between settings, with multiple sclerosis; that of `$EVAL` has "
        "hardly any lesion to see, two of a size that counts. Lesions found by a threshold in the truth, medians of "
        "each size: contrast against what is around them in the truth, how much of it is kept (1 = all), their volume "
        "kept, the part erased, and what was invented around them. Scans with 1 % noise.",
        lesions_table,
    ),
    Section(
        "Uncertainty",
        "uncertainty.csv",
        "python scripts/benchmark_uncertainty.py $EVAL/adi_T1w.nii.gz $EVAL/ms07_FLAIR.nii.gz --slices 4:4 6:6\n"
        "    --box 24 --samples 8 --first 2 4 8 --keep runs/uncertainty --csv docs/results/uncertainty.csv\n"
        "    --plot docs/results/reliability.png",
        "The middle 24 voxels from left to right, two, four and eight samples; noise as a fraction of the 99.5th "
        "percentile. Per cent of the head's voxels that intervals hold: before, Student's t of the samples' own "
        "deviation; after, as `focvs` writes its 90 % interval: factors measured on two other heads without noise, and "
        "what the last exact replacement takes over of the scan's noise. The scale is that of the "
        "90 % factor against a normal distribution's. CRPS as a fraction of the 99.5th percentile, of the samples "
        "before and of a normal distribution after; rank correlation "
        "(Spearman) of the predictive deviation with the absolute error.",
        uncertainty_table,
        "reliability.png",
    ),
    Section(
        "Peers as they ship",
        "peers.csv",
        "python -m venv env && env/bin/pip install eclare\n"
        "python scripts/compare_peers.py $EVAL/ms07_FLAIR.nii.gz --slices 4:4 --box 32 --environment eclare=env\n"
        "    --csv docs/results/peers.csv",
        "The residual is the largest deviation of the estimate's own slices from the scan, over the scan's range. "
        "ECLARE trains on every scan: its default is 1,000,000 patches in batches of 128, so that 400 steps of 8 do "
        "not say what it can do on a GPU.",
        peers_table,
    ),
    Section(
        "Rules of the literature, ours and deepinv's",
        "deepinv.csv",
        "python scripts/compare_deepinv.py $EVAL/ms07_FLAIR.nii.gz --box 32 --csv docs/results/deepinv.csv",
        "4 mm slices with 1 % noise, the middle 32 voxels, the same prior, operator and number of evaluations of the "
        "network, one sample. deepinv divides the fresh noise of DDRM by sqrt(2), which the paper does not.",
        deepinv_table,
    ),
)


def page() -> str:
    """The text of docs/results.md."""
    parts = [INTRODUCTION]
    for section in SECTIONS:
        path = TABLES / section.file
        if not path.is_file():
            continue
        with path.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
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
        if section.picture:
            lines += ["", f"![{section.title}](results/{section.picture})"]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
