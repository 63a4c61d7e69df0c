"""What the shipped prior made of a small scan when it was last meant to change, within what platforms may differ by."""

import platform
from pathlib import Path

import numpy as np
import pytest

from focvs.scan.units import white_level

GOLDEN = Path(__file__).parent / "golden" / "default.npz"
# largest difference as a share of the white level. Where the values were made nothing but the processor's kinds of
# multiplication differ; other systems have other libraries
TOLERANCE = {("Linux", "x86_64"): 2e-4}
ELSEWHERE = 2e-3
IN_BFLOAT16 = 0.03  # largest, and on average a fiftieth of that


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as content:
        return dict(content)


def differences(found, golden):
    white = white_level(golden["scan"].astype(np.float32))
    return {name: np.abs(found[name] - golden[name]) / white for name in found}


@pytest.mark.slow
def test_float32_gives_the_golden_values(golden, import_script):
    found = import_script("make_golden").restored(golden["scan"], "precision=float32")
    most = TOLERANCE.get((platform.system(), platform.machine()), ELSEWHERE)
    assert found.keys() == golden.keys() - {"scan"}
    for name, difference in differences(found, golden).items():
        assert found[name].shape == golden[name].shape and found[name].std() > 0
        assert difference.max() <= most, f"{name} differs by {difference.max():.2g} of the white level"


@pytest.mark.slow
def test_bfloat16_is_near_them(golden, import_script):
    found = import_script("make_golden").restored(golden["scan"], "precision=bfloat16")
    difference = differences(found, golden)["mean"]
    assert 0 < difference.max() <= IN_BFLOAT16 and difference.mean() <= IN_BFLOAT16 / 50
