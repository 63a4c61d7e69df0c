"""Printed tables of ``focvs evaluate``: from rows of numbers to lines of text; none where no row has such numbers."""

from __future__ import annotations

from typing import Any

from focvs.evaluation.lesions import SMALLEST_ML

COLUMNS = {
    "psnr_db": "PSNR dB",
    "ssim": "SSIM",
    "nrmse": "NRMSE",
    "mae": "MAE",
    "hfen": "HFEN",
    "gms": "GMS",
    "sharpness": "edges",
    "spectrum": "spectrum",
    "residual": "residual",
}
MOST_LINES = 6  # labels printed one by one; of more only the mean


def score_table(rows: list[dict[str, Any]], definitions: dict[str, Any]) -> list[str]:
    """What is meant, then a line for each estimate."""
    lines = [
        f"{name}: {value:.4g}" if isinstance(value, float) else f"{name}: {value}"
        for name, value in definitions.items()
    ]
    width = max(8, *(len(row["estimate"]) for row in rows))
    lines.append(f"{'estimate':{width}s} " + " ".join(f"{title:>9s}" for title in COLUMNS.values()))
    for row in rows:
        cells = (
            f"{'-':>9s}" if row[key] is None else f"{row[key]:9.1e}" if key == "residual" else f"{row[key]:9.4g}"
            for key in COLUMNS
        )
        lines.append(f"{row['estimate']:{width}s} {' '.join(cells)}{'  resampled' if row['resampled'] else ''}")
    return lines


def interval_table(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each estimate that came with an interval."""
    lines = [
        f"{row['estimate']:24s} {values['held']:7.3f} {values['width']:7.4f} "
        f"{_or_dash(values['rank_correlation']):>17s}"
        for row in rows
        if (values := row.get("interval")) is not None
    ]
    return [f"{'q05 to q95':24s} {'held':>7s} {'width':>7s} {'rank correlation':>17s}", *lines] if lines else []


def _or_dash(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def perceptual_table(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each estimate, where VGG16 was given."""
    lines = [
        f"{row['estimate']:24s} {values['distance']:9.4f} {values['fid']:9.4g} {values['kid']:9.2e} "
        f"{values['slices']:7d}"
        for row in rows
        if (values := row.get("perceptual")) is not None
    ]
    return [f"{'perceptual':24s} {'distance':>9s} {'FID':>9s} {'KID':>9s} {'slices':>7s}", *lines] if lines else []


def lesion_table(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each estimate and lesion size; none where no lesions were given."""
    titles = ("lesions", "contrast", "contrast_kept", "volume_kept", "erased", "invented")
    lines = []
    for row in rows:
        for size, values in row.get("lesions", {}).items():
            cells = " ".join(f"{values[title]:13.3g}" for title in titles)
            lines.append(f"{row['estimate']:24s} {size:12s} {cells}")
    header = f"{'lesions, medians':24s} {'size':12s} " + " ".join(f"{title.replace('_', ' '):>13s}" for title in titles)
    left_out = max((row.get("lesions_left_out", 0) for row in rows), default=0)
    if left_out:
        lines.append(
            f"{left_out} lesions below {SMALLEST_ML:g} ml, without contrast or with nothing around them, were left out"
        )
    return [header, *lines] if lines else []


def label_table(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each estimate, segmenter and label, or only for the mean where there are many; else none."""
    lines = []
    for row in rows:
        for name, found in row.get("segmentations", {}).items():
            if found is None:
                lines.append(f"{row['estimate']:24s} {name:16s} failed")
                continue
            labels = found["labels"] if len(found["labels"]) <= MOST_LINES else {}
            for label, values in labels.items():
                lines.append(
                    f"{row['estimate']:24s} {name:16s} {label:>6s} {values['dice']:7.4f} "
                    f"{100 * values['volume_error']:+13.2f}"
                )
            lines.append(f"{row['estimate']:24s} {name:16s} {'mean':>6s} {found['mean_dice']:7.4f}")
    return [f"{'labels':24s} {'by':16s} {'label':>6s} {'Dice':>7s} {'volume error %':>13s}", *lines] if lines else []


TABLES = (interval_table, perceptual_table, lesion_table, label_table)
