import pytest

from focvs.priors.networks import HaarUNet2D


def test_a_slab_has_a_middle():
    with pytest.raises(ValueError, match="slab=4 must be an odd"):
        HaarUNet2D(slab=4)
