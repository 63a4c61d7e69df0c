"""Write the versions of everything that results were made with: ``python scripts/lock_versions.py``.

They are those of this environment, of focvs with what it needs and what that needs in turn, as a file of requirements:
``pip install -r docs/results/requirements.lock`` installs them again. Comments say what of the machine has a part.
"""

from __future__ import annotations

import argparse
import platform
from pathlib import Path

import torch

from audit import closure
from focvs.files import write_atomically
from focvs.hardware import multiplies_bfloat16

LOCK = Path(__file__).resolve().parents[1] / "docs" / "results" / "requirements.lock"
EXTRAS = {"dev", "deepinv"}  # of focvs, that scripts of the results use


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=LOCK)
    output = parser.parse_args().output
    lines = [
        f"# Python {platform.python_version()} on {platform.system()} {platform.machine()}",
        f"# {'' if multiplies_bfloat16() else 'no '}units for bfloat16, {torch.backends.cpu.get_cpu_capability()}",
        *(f"{name}=={known.version.partition('+')[0]}" for name, known in sorted(closure("focvs", EXTRAS).items())),
    ]
    write_atomically(output, "", lambda part: part.write_text("\n".join(lines) + "\n", encoding="utf-8"))
    print(f"{len(lines) - 2} packages in {output}")


if __name__ == "__main__":
    main()
