import numpy as np
import pytest

from focvs.training.cache import build_cache, load_cache


def test_cache_holds_what_it_says(cache, tmp_path):
    volumes = {v.name: v for v in load_cache(cache)}
    assert set(volumes) == {"head", "stack", "map"}
    assert all(v.data.dtype == np.uint8 for v in volumes.values())
    assert volumes["stack"].voxel_mm[2] == pytest.approx(5.0)
    assert volumes["stack"].voxel_mm[0] == pytest.approx(0.7, rel=0.03)  # finer stacks are averaged to 0.7 mm
    assert sorted(set(volumes["map"].families.tolist())) == [0, 2, 3, 4]
    assert len(load_cache(cache, ("kept_out",))) == 3
    with pytest.raises(ValueError, match="holds head, to be kept out"):
        load_cache(cache, ("head", "kept_out"))
    with pytest.raises(FileNotFoundError, match="no NIfTI"):
        build_cache(tmp_path, tmp_path / "x.npz")
