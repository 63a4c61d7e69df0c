"""focvs evaluate: estimates against the truth, in a table, as CSV and as JSON."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from focvs.commands.scores import measure_estimates
from focvs.config import EvaluateConfig
from focvs.files import require_writable, write_csv, write_json
from focvs.report.tables import COLUMNS, TABLES, score_table

log = logging.getLogger(__name__)


def evaluate_estimates(config: EvaluateConfig) -> list[dict[str, Any]]:
    """Compare volumes with the truth in its head mask, print a table, and write CSV and JSON where asked for.

    Returns:
        A row for each estimate.

    Raises:
        InputError: as :func:`measure_estimates`, or if the output folder cannot be written.
    """
    if config.output:
        require_writable(Path(config.output))
    rows, definitions = measure_estimates(config)
    for line in [*score_table(rows, definitions), *(line for table in TABLES for line in table(rows))]:
        print(line)
    if config.output:
        write_rows(Path(config.output), rows, definitions)
    return rows


def write_rows(folder: Path, rows: list[dict[str, Any]], definitions: dict[str, Any]) -> None:
    """``evaluation.csv`` and ``evaluation.json`` in ``folder``; columns of the former are keys joined by dots."""
    flat = [dict(_flattened(row)) for row in rows]
    first, last = ["estimate", *COLUMNS], ["resampled", "path"]
    others = dict.fromkeys(key for row in flat for key in row if key not in {*first, *last})
    write_csv(folder / "evaluation.csv", flat, [*first, *others, *last])
    write_json(folder / "evaluation.json", {"definitions": definitions, "estimates": rows})


def _flattened(row: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs of a nested table, its keys joined by dots."""
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield from _flattened(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
