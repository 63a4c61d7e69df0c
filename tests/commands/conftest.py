import numpy as np
import pytest

from scans import write_scan


@pytest.fixture
def truth(tmp_path, phantom):
    return write_scan(tmp_path / "truth.nii.gz", (1000 * phantom[0]).astype(np.float32), np.diag([1.2, 1.2, 1.2, 1.0]))
