import torch

from focvs.priors import mean
from focvs.priors.mean import mean_of_plane, mean_of_planes


def middle(slabs):
    return slabs[:, 2:3]


def test_a_network_that_gives_its_middle_back_changes_nothing(monkeypatch):
    monkeypatch.setattr(mean, "PIXELS_PER_BATCH", 50)  # several batches
    volume = torch.randn(6, 7, 9)
    for across in (0, 1):
        assert torch.equal(mean_of_plane(middle, [volume], across), volume)
    assert torch.allclose(mean_of_planes(middle, [volume]), volume)


def test_slabs_hold_the_neighbours_along_the_axis_and_repeat_the_last_slice():
    volume = torch.arange(6.0)[:, None, None].expand(6, 4, 5).contiguous()
    first = mean_of_plane(lambda slabs: slabs[:, :1], [volume], 0)
    assert first[:, 0, 0].tolist() == [0, 0, 0, 1, 2, 3]
    assert torch.equal(mean_of_plane(lambda slabs: slabs[:, :1], [volume], 1), volume)


def test_further_images_come_after_the_first():
    volume, other = torch.randn(2, 5, 6, 8)
    assert torch.equal(mean_of_plane(lambda slabs: slabs[:, 7:8], [volume, other], 0), other)
