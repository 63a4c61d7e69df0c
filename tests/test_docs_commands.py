"""The commands of the documents: every block marked as bash is run as it stands, in a folder that holds what it names.

The networks are small ones by hand: what a command gives with the shipped weights is tested elsewhere.
"""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from focvs.cli import main
from focvs.commands.bids import main as bids
from runs import mean_prior
from scans import write_scan, write_thick_scan
from stacked import stack_of

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```bash\n(.*?)^```", re.S | re.M)
PAGES = [page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))) if BLOCK.search(page.read_text())]
PROGRAMS = {"focvs": main, "focvs-bids": bids}


def commands_of(page):
    for block in BLOCK.findall(page.read_text()):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words:
                yield words


@pytest.fixture
def folder(tmp_path, phantom, stack_head, monkeypatch):
    """What the documents name: a scan, a volume, stacks, a folder of scans, a BIDS data set, a profile."""
    clean, noisy = phantom
    volume = 1000 * noisy.astype(np.float32)
    write_scan(tmp_path / "volume.nii.gz", volume, np.diag([1.2, 1.2, 1.2, 1.0]))
    write_scan(tmp_path / "other_method.nii.gz", 1000 * clean.astype(np.float32), np.diag([1.2, 1.2, 1.2, 1.0]))
    places = ["scan", "study/first", "study/second/scan", "bids/sub-01/anat/sub-01_T2w", "bids/sub-02/anat/sub-02_T2w"]
    for name in places:
        path = tmp_path / f"{name}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_thick_scan(path, noisy)
        path.with_name(path.name.replace(".nii.gz", ".json")).write_text('{"SliceThickness": 5}')
    stack_of(tmp_path / "axial.nii.gz", stack_head, 2)
    stack_of(tmp_path / "sagittal.nii.gz", stack_head, 0)
    at_mm = np.linspace(-6, 6, 49)
    np.save(tmp_path / "profile.npy", np.stack([at_mm, np.exp(-4 * np.log(2) * (at_mm / 5) ** 2)], axis=1))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def small_networks(tmp_path_factory, monkeypatch):
    shipped = tmp_path_factory.mktemp("checkpoints")
    mean_prior(shipped / "mean2d")
    for module in ("reconstruction.setup", "commands.sweep"):
        monkeypatch.setattr(f"focvs.{module}.checkpoints_dir", lambda: shipped)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_of_a_page_run(page, folder, small_networks, request):
    if page.stem == "thickness":  # its scan must show detail across slices
        request.getfixturevalue("field_scan")
    for program, *words in commands_of(page):
        assert PROGRAMS[program](words) == 0, words
    assert [path for path in Path().rglob("*_focvs.*")] or [path for path in Path().rglob("*desc-focvs*")]
