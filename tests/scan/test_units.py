import numpy as np
import pytest

from focvs.errors import InputError
from focvs.scan.units import white_level


def test_intensity_scale_ignores_air_and_needs_light():
    volume = np.zeros((20, 20, 20), np.float32)
    volume[5:15, 5:15, 5:15] = np.linspace(100, 200, 1000).reshape(10, 10, 10)
    assert white_level(volume) == pytest.approx(199.5, abs=0.5)
    with pytest.raises(InputError, match="positive"):
        white_level(-np.ones((4, 4, 4)))
