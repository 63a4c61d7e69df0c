"""Faults, one after the other, and what is found afterwards: ``python scripts/faults.py [--kills 100] [--page FILE]``.

Commands are killed at random moments (SIGKILL), disks are full, folders read-only, files damaged, networks give NaN,
two runs want one folder. After each it is looked for: files under a final name that cannot be read, inputs that have
changed, processes and temporary files that are left, and whether the same command then goes on to its end. Scans are
small phantoms, and priors are small networks with random weights: the road is that of every run. Full disks and
read-only folders are small file systems in memory, for which root is needed; without it they are left out.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from fault_bench import Bench, digest, leftovers, still_alive, unreadable
from fault_kinds import FAULTS
from focvs.files import write_atomically

KINDS = {"folder": 36, "folder, workers=2": 24, "one scan": 20, "sweep": 10, "adaptation": 5, "training": 5}  # of 100
BEGINNING, END = "<!-- faults -->", "<!-- end of faults -->"
Row = tuple[str, str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=100, help="0 leaves them out")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="Markdown file whose table of faults is replaced")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="focvs-faults-") as name:
        bench = Bench(Path(name) / "bench")
        if options.kills:
            rows += kills(bench, Path(name), options.kills, random.Random(options.seed))
        for what, fault in FAULTS.items():
            out = Path(name) / "out"
            shutil.rmtree(out, ignore_errors=True)
            row = (what, *fault(bench, out))
            print(" | ".join(row), flush=True)
            rows.append(row)
            changed = [path.name for path, was in bench.prints.items() if digest(path) != was]
            if changed:
                raise SystemExit(f"{what}: {', '.join(changed)} changed")
    if options.page:
        table = "\n".join(["| fault | what happened | afterwards |", "|---|---|---|", *(line(row) for row in rows)])
        head, rest = options.page.read_text(encoding="utf-8").split(BEGINNING)
        text = head + BEGINNING + "\n" + table + "\n" + END + rest.split(END)[1]
        write_atomically(options.page, ".md", lambda part: part.write_text(text, encoding="utf-8"))


def line(row: Row) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"


def kills(bench: Bench, folder: Path, count: int, rng: random.Random) -> list[Row]:
    """Rows of a kind each: commands that were killed, and what was found."""
    rows = []
    for kind, share in KINDS.items():
        wanted = max(1, round(count * share / 100))
        lasts = seconds_of(bench.command(kind, folder / "timed"), folder / "timed")
        done, found = 0, {"unreadable": 0, "changed": 0, "left": 0, "did not go on": 0}
        for number in range(wanted):
            out = folder / f"kill-{number}"
            command = bench.command(kind, out)
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
            )
            try:
                process.wait(timeout=rng.uniform(0.3, 1.02) * lasts)
                done += 1  # faster than the clock
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
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
        row = (f"SIGKILL, {kind}", f"{wanted} kills within {lasts:.0f} s, {done} of them after its end", what)
        print(" | ".join(row), flush=True)
        rows.append(row)
    return rows


def seconds_of(command: list[str], out: Path) -> float:
    began = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    shutil.rmtree(out)
    return time.monotonic() - began


if __name__ == "__main__":
    main()
