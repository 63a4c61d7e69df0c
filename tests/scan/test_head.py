import numpy as np

from focvs.scan.head import head_mask


def test_head_mask_fills_the_head_and_leaves_the_air(phantom):
    clean, noisy = phantom
    mask = head_mask(noisy, 1.0)
    assert mask[28, 32, 30]  # ventricle
    assert not mask[0, 0].any()
    assert mask[clean > 0.3].mean() > 0.99
    assert head_mask(np.zeros((4, 4, 4), np.float32), 1.0).all()
