"""The house: imports go one way, no circle, no long file, and core folders know nothing of configurations."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "focvs"
# from the ground up: a folder or module imports only from its own floor's folder and from floors below
FLOORS = (
    ("errors",),
    ("run_config",),
    ("files", "config", "hardware", "parallel"),
    ("locks", "processes"),
    ("signal",),
    ("acquisition",),
    ("priors",),
    ("sampling",),
    ("scan",),
    ("training", "evaluation"),
    ("reconstruction",),
    ("report",),
    ("pipeline",),
    ("commands",),
    ("cli", "api"),
    ("__main__",),
)
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names}
FROM_OURSELVES = ("reconstruction.shares",)  # unpickles what the process that started this one sends it
WITHOUT_CONFIG = ("signal", "acquisition", "priors", "sampling", "scan", "training", "evaluation")
LONGEST = 300  # lines of a file
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports, anywhere in it, by their names below ``focvs``."""
    known = {name_of(module) for module in MODULES}
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("focvs"):
            base = (node.module or "").removeprefix("focvs").lstrip(".")
            inner = {f"{base}.{alias.name}".lstrip(".") for alias in node.names}
            found |= inner & known or {base} & known
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("focvs.") for alias in node.names} & known
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_imports_go_down(path: Path) -> None:
    own = name_of(path).partition(".")[0]
    assert own in FLOOR, f"{own} has no floor: give it one in this test and in docs/architecture.md"
    for imported in imports_of(path):
        other = imported.partition(".")[0]
        assert other == own or FLOOR[other] < FLOOR[own], f"{name_of(path)} must not import {imported}"
        assert other not in ("config", "run_config") or own not in WITHOUT_CONFIG, (
            f"{name_of(path)} takes numbers, not configurations"
        )


def test_no_circles() -> None:
    graph = {name_of(path): imports_of(path) for path in MODULES}
    try:
        list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"imports go in a circle: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_long_file(path: Path) -> None:
    lines = len(path.read_text().splitlines())
    assert lines <= LONGEST, f"{name_of(path)} has {lines} lines: does it hold two ideas?"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_module_has_a_test_of_its_name(path: Path) -> None:
    place = path.relative_to(PACKAGE)
    assert (Path(__file__).parent / place.parent / f"test_{place.name}").is_file()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_shell_and_no_code_from_data(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        called, keywords = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert called not in ("eval", "exec", "os.system", "os.popen", "yaml.load"), called
        assert called not in ("pickle.load", "pickle.loads") or name_of(path) in FROM_OURSELVES
        assert keywords.get("shell", "False") == "False" and keywords.get("allow_pickle", "False") == "False"
        assert called != "torch.load" or keywords.get("weights_only") == "True"
