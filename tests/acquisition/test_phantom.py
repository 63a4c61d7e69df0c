import numpy as np
import pytest

from focvs.acquisition.phantom import head_phantom


def test_phantom_is_a_head_in_air_and_repeats():
    clean, noisy = head_phantom((40, 48, 44), seed=3)
    again, other = head_phantom((40, 48, 44), seed=3)[0], head_phantom((40, 48, 44), seed=4)[0]
    assert np.array_equal(clean, again)
    assert not np.allclose(clean, other)
    assert clean[0].max() < 0.02
    assert (clean > 0.3).mean() > 0.2
    background = noisy[:, :3][clean[:, :3] < 1e-3]
    assert background.mean() == pytest.approx(0.01 * np.sqrt(np.pi / 2), rel=0.1)  # Rayleigh
