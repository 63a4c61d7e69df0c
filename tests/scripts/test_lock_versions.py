"""The lock file of the results: it names all that focvs needs, and is made of what is installed."""

import re
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "docs" / "results" / "requirements.lock"


def locked(path):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9.-]+==[A-Za-z0-9.]+", line) for line in lines)
    found = dict(line.split("==") for line in lines)
    assert list(found) == sorted(found) and len(found) == len(lines)
    return found


def test_the_lock_names_everything_that_focvs_needs():
    found, project = locked(LOCK), tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert LOCK.read_text().startswith("# Python 3.")
    for line in [*project["dependencies"], *project["optional-dependencies"]["stacks"]]:
        needed = Requirement(line)
        assert found[canonicalize_name(needed.name)] in needed.specifier, line
    assert not {"focvs"} & found.keys() and {"sympy", "packaging"} <= found.keys()  # and what those need


def test_it_is_made_of_what_is_installed(import_script, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["lock_versions.py", "--output", str(tmp_path / "lock")])
    import_script("lock_versions").main()
    found = locked(tmp_path / "lock")
    assert found["numpy"] == version("numpy") and found["torch"] == version("torch").partition("+")[0]
