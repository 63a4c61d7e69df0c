import numpy as np
import pytest


@pytest.fixture(scope="module")
def layers():
    """Three nested boxes of unlike size, labels 1 to 3 from outside in, in a margin of nothing."""
    labels = np.zeros((40, 36, 32), dtype=np.uint8)
    for label, edge in enumerate((3, 7, 11), start=1):
        labels[edge:-edge, edge:-edge, edge:-edge] = label
    return labels
