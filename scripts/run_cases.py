"""Run scripts that try ``focvs`` on one situation each: ``python scripts/run_cases.py FOLDER [NAME ...]``.

Each script builds a small input, runs the command named by the environment variable ``FOCVS`` and ends with 0 where it
answered well; the last line it prints says PASS or FAIL and why. Names choose scripts; files without the word
``verdict(`` in them are helpers. The exit code is the number of scripts that failed, at most 125.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

LIMIT_S = 600.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="of scripts, without .py")
    parser.add_argument("--focvs", default=str(Path(sys.executable).with_name("focvs")), help="the command to try")
    args = parser.parse_args()
    scripts = [p for p in sorted(args.folder.glob("*.py")) if "def verdict" not in p.read_text()]
    chosen = [p for p in scripts if not args.names or p.stem in args.names]
    if not chosen:
        parser.error(f"{args.folder} has none of these scripts.")
    failed = [path.stem for path in chosen if not passes(path, args.focvs)]
    print(f"{len(chosen) - len(failed)} of {len(chosen)} pass" + (f"; failed: {', '.join(failed)}" if failed else ""))
    return min(len(failed), 125)


def passes(path: Path, command: str) -> bool:
    """Run one script, print its last line, and say whether it ended with 0."""
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, str(path.resolve())],
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "FOCVS": command},
            timeout=LIMIT_S,
        )
        said, good = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"], done.returncode == 0
    except subprocess.TimeoutExpired:
        said, good = [f"FAIL: not done after {LIMIT_S:.0f} s"], False
    print(f"{path.stem:32s} {time.monotonic() - began:5.0f} s  {said[-1]}", flush=True)
    return good


if __name__ == "__main__":
    sys.exit(main())
