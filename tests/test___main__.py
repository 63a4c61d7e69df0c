"""python -m focvs is the command focvs."""

import subprocess
import sys

from focvs import __version__


def test_the_package_is_run_as_the_command():
    ended = subprocess.run([sys.executable, "-m", "focvs", "--version"], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (0, f"focvs {__version__}\n")
