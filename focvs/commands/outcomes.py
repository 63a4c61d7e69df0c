"""What became of a scan: restored, there already, skipped or failed, and what there is to say about it."""

from __future__ import annotations

import json
import logging
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from focvs import __version__
from focvs.errors import FocvsError, InputError, NoScanError
from focvs.pipeline import super_resolve
from focvs.report.run_report import plain
from focvs.run_config import NEUTRAL, RunConfig
from focvs.scan.dicom import leaving_nothing, open_scan
from focvs.scan.finding import Found

log = logging.getLogger(__name__)
RESTORED, THERE, SKIPPED, FAILED = "restored", "there", "skipped", "failed"
PLACES = ("scan", "output_dir", "shard", "overwrite")  # settings of where things are, or may be put


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
    peak_memory_mib: float | None = None

    def say(self) -> None:
        """One line of JSON on the standard output."""
        content = {key: value for key, value in asdict(self).items() if value not in (None, "")}
        print(json.dumps(content), file=sys.stdout, flush=True)


def restore_one(item: Found, config: RunConfig, output: Path, again: bool = False) -> Outcome:
    """Restore a scan unless that was done; a failure is an outcome like others.

    Args:
        item: the scan.
        config: of it alone.
        output: folder of all results.
        again: whether it is restored even if it was.
    """
    began = time.perf_counter()
    if item.fault:
        return Outcome(item.name, FAILED, reason=item.fault)
    try:
        if not again and (there := _done(config)) is not None:
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


def restore_and_say(config: RunConfig) -> None:
    """Restore one scan and print its outcome as a line of JSON.

    Raises:
        InputError: with the reason, where it was not restored.
    """
    scan = Path(config.scan)
    output = Path(config.output_dir or scan.parent)
    outcome = restore_one(Found(scan, Path()), config, output, again=True)
    outcome.say()
    if outcome.status != RESTORED:
        raise InputError(outcome.reason)


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
        peak_memory_mib=report["peak_memory_mib"],
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
