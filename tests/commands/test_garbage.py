"""Imports are not looked at by the collector, and what else is garbage still is."""

import gc
import subprocess
import sys
import weakref
from types import ModuleType

import pytest

from focvs.commands.garbage import leave, uncollected


class Cycle:
    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def thawed():
    yield
    gc.unfreeze()


def test_nothing_is_collected_within_and_the_rest_afterwards(monkeypatch):
    before = gc.get_freeze_count()
    with uncollected():
        assert not gc.isenabled()
        kept = [Cycle() for _ in range(1000)]
    assert gc.isenabled() and gc.get_freeze_count() == before  # nothing was imported
    with uncollected():
        monkeypatch.setitem(sys.modules, "focvs.nothing", ModuleType("nothing"))
    assert gc.isenabled() and gc.get_freeze_count() > before + len(kept)
    lost = weakref.ref(Cycle())
    gc.collect()
    assert lost() is None


def test_a_failing_import_leaves_the_collector_as_it_was():
    with pytest.raises(ImportError), uncollected():
        raise ImportError
    assert gc.isenabled()
    gc.disable()
    try:
        with uncollected():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_process_ends_with_its_code_and_what_is_registered_for_the_end_is_done():
    code = "import atexit; from focvs.commands.garbage import leave; atexit.register(print, 'end'); leave(3)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 3 and done.stdout == "end\n"
    with pytest.raises(SystemExit):
        leave(0)
