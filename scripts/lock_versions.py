"""Write the versions of everything that results were made with: ``python scripts/lock_versions.py``.

They are those of this environment, of focvs with what it needs and what that needs in turn, as a file of requirements:
``pip install -r docs/results/requirements.lock`` installs them again. Comments say what of the machine has a part.
"""

from __future__ import annotations

import argparse
import platform
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from focvs.files import write_atomically
from focvs.hardware import multiplies_bfloat16

LOCK = Path(__file__).resolve().parents[1] / "docs" / "results" / "requirements.lock"
EXTRAS = ("dev", "stacks", "deepinv", "launchers")  # of focvs, that scripts of the results use


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=LOCK)
    output = parser.parse_args().output
    lines = [
        f"# Python {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"# {'' if multiplies_bfloat16() else 'no '}units for bfloat16, {torch.backends.cpu.get_cpu_capability()}",
        *(f"{name}=={version}" for name, version in sorted(installed().items())),
    ]
    write_atomically(output, "", lambda part: part.write_text("\n".join(lines) + "\n", encoding="utf-8"))
    print(f"{len(lines) - 2} packages in {output}")


def installed() -> dict[str, str]:
    """Versions of what focvs needs here, by name, without focvs itself."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    rest = [("focvs", extra) for extra in ("", *EXTRAS)]
    while rest:
        name, extra = rest.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            known = distribution(name)
        except PackageNotFoundError:
            continue  # for another system, or a comparison that is not made here
        if name != "focvs":
            found[name] = known.version.partition("+")[0]
        for line in known.requires or ():
            needed = Requirement(line)
            if needed.marker is None or needed.marker.evaluate({"extra": extra}):
                rest += [(canonicalize_name(needed.name), inner) for inner in ("", *needed.extras)]
    return found


if __name__ == "__main__":
    main()
