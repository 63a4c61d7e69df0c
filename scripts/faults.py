"""Faults, one after the other, and what is found afterwards: ``python scripts/faults.py [--kills 100] [--page FILE]``.

Commands are killed at random moments (SIGKILL), disks are full, folders read-only, files damaged, networks give NaN,
two runs want one folder. After each it is looked for: files under a final name that cannot be read, inputs that have
changed, processes and temporary files that are left, and whether the same command then goes on to its end. Scans are
small phantoms, and priors are small networks with random weights: the road is that of every run. Full disks and
read-only folders are small file systems in memory, for which root is needed; without it they are left out.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from fault_bench import Bench, digest, leftovers, still_alive, unreadable
from fault_kinds import FAULTS
from focvs.files import write_atomically, write_csv

KINDS = {"folder": 36, "folder, workers=2": 24, "one scan": 20, "sweep": 10, "adaptation": 5, "training": 5}  # of 100
BEGINNING, END = "<!-- faults -->", "<!-- end of faults -->"
COLUMNS = ("fault", "happened", "afterwards")
Row = tuple[str, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="0 leaves them out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="Markdown file whose table of faults is replaced")
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS), help="of commands to kill")
    parser.add_argument("--only", nargs="*", choices=list(FAULTS), help="of the other faults")
    parser.add_argument(
        "--csv", type=Path, help="file that keeps the rows, those of a fault in the place of earlier ones"
    )
    options = parser.parse_args()
    kept: dict[str, Row] = {}
    if options.csv and options.csv.is_file():
        with options.csv.open(newline="", encoding="utf-8") as stream:
            kept = {row["fault"]: (row["fault"], row["happened"], row["afterwards"]) for row in csv.DictReader(stream)}
    with tempfile.TemporaryDirectory(prefix="focvs-faults-") as name:
        bench = Bench(Path(name) / "bench")
        for row in tried(bench, Path(name), options):
            print(" | ".join(row), flush=True)
            kept[row[0]] = row
            changed = [path.name for path, was in bench.prints.items() if digest(path) != was]
            if changed:
                raise SystemExit(f"{row[0]}: {', '.join(changed)} changed")
            if options.csv:
                write_csv(options.csv, [dict(zip(COLUMNS, row, strict=True)) for row in kept.values()], COLUMNS)
    if options.page:
        lines = ["| fault | what happened | afterwards |", "|---|---|---|", *map(line, kept.values())]
        head, rest = options.page.read_text(encoding="utf-8").split(BEGINNING)
        text = "\n".join([head + BEGINNING, "", *lines, "", END + rest.split(END)[1]])
        write_atomically(options.page, ".md", lambda part: part.write_text(text, encoding="utf-8"))


def tried(bench: Bench, folder: Path, options: argparse.Namespace) -> Iterator[Row]:
    """Rows of all faults, one after the other."""
    rng = random.Random(options.seed)
    for kind in options.kinds if options.kills else []:
        yield kills(bench, folder, kind, max(1, round(options.kills * KINDS[kind] / 100)), rng)
    for what, fault in FAULTS.items():
        if options.only is not None and what not in options.only:
            continue
        shutil.rmtree(folder / "out", ignore_errors=True)
        yield (what, *fault(bench, folder / "out"))


def line(row: Row) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def kills(bench: Bench, folder: Path, kind: str, wanted: int, rng: random.Random) -> Row:
    """A row of a command that was killed again and again, and what was found."""
    lasts = min(seconds_of(bench.command(kind, folder / "timed"), folder / "timed") for _ in range(2))
    killed, found = 0, {"unreadable": 0, "changed": 0, "left": 0, "did not go on": 0}
    while killed < wanted:
        out, began = folder / "kill", time.monotonic()
        command = bench.command(kind, out)
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(timeout=rng.uniform(0.2, 1.0) * lasts)
            lasts = min(lasts, time.monotonic() - began)  # it was faster than the clock: not a kill
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
        left_alive = still_alive(process.pid)
        found["unreadable"] += bool(unreadable(out))
        again = subprocess.run(command, capture_output=True, text=True, check=False)
        found["did not go on"] += again.returncode != 0 or bool(unreadable(out))
        found["changed"] += any(digest(path) != was for path, was in bench.prints.items())
        found["left"] += bool(left_alive) or bool(leftovers(out))
        if again.returncode:
            print(again.stderr[-2000:], flush=True)
        shutil.rmtree(out, ignore_errors=True)
    what = ", ".join(f"{number} {name}" for name, number in found.items())
    return f"SIGKILL, {kind}", f"{killed} kills at random moments of {lasts:.0f} s", what


def seconds_of(command: list[str], out: Path) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(out)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
