import torch

from focvs.priors.mean import SlabDenoiser, mean_of_planes
from focvs.priors.mean_network import MeanUNet2D


class Channel(MeanUNet2D):
    """Gives one of the slices it sees back."""

    def __init__(self, images, place):
        super().__init__(5, images, (8,), (1,))
        self.place = place

    def forward(self, images):
        return images[:, self.place].unsqueeze(1)


def test_a_network_that_gives_its_middle_back_changes_nothing():
    volume = torch.randn(6, 7, 9)
    assert torch.allclose(mean_of_planes(SlabDenoiser(Channel(1, 2)), volume, volume), volume)


def test_slabs_hold_the_neighbours_of_both_planes_and_repeat_the_last_slice():
    volume = torch.arange(6.0)[:, None, None].expand(6, 4, 5).contiguous()
    found = mean_of_planes(SlabDenoiser(Channel(1, 0)), volume, volume)
    assert (2 * found - volume)[:, 0, 0].tolist() == [0, 0, 0, 1, 2, 3]


def test_a_later_stage_sees_the_mean_after_the_scan():
    scan, mean = torch.randn(2, 5, 6, 8)
    assert torch.allclose(mean_of_planes(SlabDenoiser(Channel(2, 2)), scan, mean), scan)
    assert torch.allclose(mean_of_planes(SlabDenoiser(Channel(2, 7)), scan, mean), mean)
