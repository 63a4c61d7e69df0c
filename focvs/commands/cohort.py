"""focvs FOLDER OUTPUT_DIR: every scan in a folder, whatever becomes of each."""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from focvs.commands.outcomes import FAILED, RESTORED, SKIPPED, THERE, Outcome, restore_one
from focvs.errors import InputError
from focvs.files import require_writable, write_csv
from focvs.locks import locked
from focvs.run_config import RunConfig
from focvs.scan.finding import Found, find_scans

log = logging.getLogger(__name__)
COLUMNS = ("scan", "status", "result", "seconds", "relative_residual", "warnings", "reason")
NAME = "focvs_cohort"


def scans_of(config: RunConfig) -> list[Found]:
    """The scans of a configuration whose scan is a folder of several, of which none was chosen; else none.

    Raises:
        InputError: as :func:`focvs.scan.finding.find_scans`.
    """
    folder = Path(config.scan)
    if not folder.is_dir() or config.series is not None or config.echo is not None or config.stacks:
        return []
    found = find_scans(folder, _output_of(config))
    several = len({(item.path, item.series) for item in found}) > 1 or any(item.path.is_file() for item in found)
    return found if several else []


def restore_cohort(config: RunConfig, found: Sequence[Found]) -> bool:
    """Restore every multi-slice scan in a folder and those below it into a tree of the same shape.

    What is no multi-slice MRI is skipped, what was restored from the same input with the same settings by this version
    is left as it is, and a failure ends nothing. ``focvs_cohort.csv`` has a line for each, from the first one on.

    Args:
        config: of all of them.
        found: those in its folder.

    Returns:
        Whether none failed.

    Raises:
        InputError: without an output folder, for a shard that is none, where there is nothing to restore, or while
            another run restores the same part into the same folder.
    """
    if config.output_dir is None:
        raise InputError(f"{config.scan} is a folder of scans: give an output folder as well.")
    if config.workers < 1:
        raise InputError(f"workers={config.workers} must be at least 1.")
    folder, output = Path(config.scan), _output_of(config)
    part, parts = read_shard(config.shard)
    mine = found[part::parts]
    require_writable(output)
    table = output / (f"{NAME}.csv" if parts == 1 else f"{NAME}_{part}-of-{parts}.csv")
    log.info("%s: %d images and series%s", folder, len(found), f", {len(mine)} of them here" if parts > 1 else "")
    by_number: dict[int, Outcome] = {}
    with locked(table.with_name(f".{table.stem}.lock"), f"restoring {folder} into {output}", total=len(mine)):
        for number, outcome in _restored(config, mine, output):
            by_number[number] = outcome
            if outcome.reason:
                log.warning("%s: %s: %s", outcome.scan, outcome.status, outcome.reason)
            if config.log == "json":
                outcome.say()
            write_csv(table, (asdict(by_number[k]) for k in sorted(by_number)), COLUMNS)
    outcomes = list(by_number.values())
    if mine and all(outcome.status == SKIPPED for outcome in outcomes):
        table.unlink()
        first = "" if len(mine) == 1 else f"{len(mine)} images, the first: "
        raise InputError(f"{folder} holds no multi-slice scan ({first}{outcomes[0].reason}).")
    counts = {status: sum(o.status == status for o in outcomes) for status in (RESTORED, THERE, SKIPPED, FAILED)}
    log.info("%s: %s; see %s", folder, ", ".join(f"{n} {status}" for status, n in counts.items() if n), table)
    return not counts[FAILED]


def _restored(config: RunConfig, found: Sequence[Found], output: Path) -> Iterator[tuple[int, Outcome]]:
    """Number and outcome of each scan as it is done, by this process or by workers."""
    jobs = [
        (
            item,
            replace(
                config,
                scan=str(item.path),
                output_dir=str(output / item.place),
                series=item.series,
                echo=item.echo,
                shard=None,
                workers=1,
            ),
        )
        for item in found
    ]
    if config.workers > 1 and len(jobs) > 1:
        from focvs.commands.workers import restore_in_workers  # and with it multiprocessing

        yield from restore_in_workers(jobs, output, min(config.workers, len(jobs)))
        return
    for number, (item, one) in enumerate(jobs):
        log.info("--- %d of %d: %s", number + 1, len(jobs), item.name)
        yield number, restore_one(item, one, output)


def read_shard(text: str | None) -> tuple[int, int]:
    """Which part of how many, from ``i/N``: 0 to N - 1 or 1 to N, of which N is the same as 0.

    Raises:
        InputError: for anything else.
    """
    if text is None:
        return 0, 1
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or int(found[2]) < 1 or int(found[1]) > int(found[2]):
        raise InputError(f"shard={text} is not i/N, such as 1/4 ... 4/4 (or 0/4 ... 3/4).")
    return int(found[1]) % int(found[2]), int(found[2])


def read_table(path: Path) -> list[dict[str, str]]:
    """The lines of a table of outcomes."""
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as stream:
        return list(csv.DictReader(stream))


def _output_of(config: RunConfig) -> Path:
    return Path(config.output_dir or config.scan)
