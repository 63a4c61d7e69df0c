"""focvs FOLDER OUTPUT_DIR: every scan in a folder, one after the other, whatever becomes of each."""

from __future__ import annotations

import csv
import json
import logging
import re
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from focvs import __version__
from focvs.errors import FocvsError, InputError, NoScanError
from focvs.files import require_writable, write_csv
from focvs.pipeline import super_resolve
from focvs.report.run_report import plain
from focvs.run_config import NEUTRAL, RunConfig
from focvs.scan.dicom import leaving_nothing, open_scan
from focvs.scan.finding import Found, find_scans

log = logging.getLogger(__name__)
RESTORED, THERE, SKIPPED, FAILED = "restored", "there", "skipped", "failed"
COLUMNS = ("scan", "status", "result", "seconds", "relative_residual", "warnings", "reason")
PLACES = ("scan", "output_dir", "shard", "overwrite")  # settings of where things are, or may be put
NAME = "focvs_cohort"


@dataclass(frozen=True)
class Outcome:
    """What became of a scan: one of the four words above, and what there is to say about it."""

    scan: str
    status: str
    result: str = ""
    seconds: float | None = None
    relative_residual: float | None = None
    warnings: int | None = None
    reason: str = ""


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
        InputError: without an output folder, for a shard that is none, or where there is nothing to restore.
    """
    if config.output_dir is None:
        raise InputError(f"{config.scan} is a folder of scans: give an output folder as well.")
    folder, output = Path(config.scan), _output_of(config)
    part, parts = read_shard(config.shard)
    mine = found[part::parts]
    require_writable(output)
    table = output / (f"{NAME}.csv" if parts == 1 else f"{NAME}_{part}-of-{parts}.csv")
    log.info("%s: %d images and series%s", folder, len(found), f", {len(mine)} of them here" if parts > 1 else "")
    outcomes: list[Outcome] = []
    for number, item in enumerate(mine, start=1):
        log.info("--- %d of %d: %s", number, len(mine), item.name)
        one = replace(
            config,
            scan=str(item.path),
            output_dir=str(output / item.place),
            series=item.series,
            echo=item.echo,
            shard=None,
        )
        outcomes.append(_restore(item, one, output))
        if outcomes[-1].reason:
            log.warning("%s: %s", outcomes[-1].status, outcomes[-1].reason)
        write_csv(table, map(asdict, outcomes), COLUMNS)
    if mine and all(outcome.status == SKIPPED for outcome in outcomes):
        table.unlink()
        first = "" if len(mine) == 1 else f"{len(mine)} images, the first: "
        raise InputError(f"{folder} holds no multi-slice scan ({first}{outcomes[0].reason}).")
    counts = {status: sum(o.status == status for o in outcomes) for status in (RESTORED, THERE, SKIPPED, FAILED)}
    log.info("%s: %s; see %s", folder, ", ".join(f"{n} {status}" for status, n in counts.items() if n), table)
    return not counts[FAILED]


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


def _restore(item: Found, config: RunConfig, output: Path) -> Outcome:
    began = time.perf_counter()
    if item.fault:
        return Outcome(item.name, FAILED, reason=item.fault)
    try:
        if (there := _done(config)) is not None:
            return _outcome(item, THERE, there, output)
        mean = super_resolve(config)["mean"]
    except NoScanError as error:
        return Outcome(item.name, SKIPPED, reason=str(error))
    except FocvsError as error:
        return Outcome(item.name, FAILED, reason=str(error))
    except Exception as error:  # one scan must not end a night of work
        log.debug("%s", item.name, exc_info=True)
        return Outcome(item.name, FAILED, reason=f"{type(error).__name__}: {error}")
    return replace(_outcome(item, RESTORED, mean, output), seconds=round(time.perf_counter() - began, 1))


def _outcome(item: Found, status: str, mean: Path, output: Path) -> Outcome:
    """What the JSON beside a volume says of its run."""
    report = json.loads(mean.with_name(mean.name.replace(".nii.gz", ".json")).read_text(encoding="utf-8"))
    return Outcome(
        item.name,
        status,
        str(mean.relative_to(output)),
        round(report["seconds"]["total"], 1),
        report["consistency"]["relative_residual"],
        len(report["warnings"]),
    )


def _done(config: RunConfig) -> Path | None:
    """The volume of an earlier run of this version on the same input with the same settings, or None.

    Raises:
        InputError: if the scan cannot be read.
    """
    folder = Path(config.output_dir or "")
    if not any(folder.glob(f"*_{config.method}.json")):
        return None
    with leaving_nothing() as left:
        scan = open_scan(Path(config.scan), folder, config.series, config.echo, config.overwrite)
        left += scan.converted
    stem = scan.result(config.method)
    mean = folder / f"{stem}.nii.gz"
    endings = {".nii.gz": True, ".png": config.figure, ".html": config.report}
    wanted = [folder / f"{stem}{ending}" for ending, asked in endings.items() if asked]
    try:
        report = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
        same = report["version"] == __version__ and report["scan_sha256"] == scan.sha256
        there = all(path.is_file() for path in wanted)
        return mean if same and there and _kept(report["config"]) == _kept(plain(asdict(config))) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _kept(settings: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in json.loads(json.dumps(settings)).items() if key not in (*NEUTRAL, *PLACES)}


def _output_of(config: RunConfig) -> Path:
    return Path(config.output_dir or config.scan)
