from itertools import permutations, product

import pytest
import torch

from focvs.priors.volumetric import Orientation, Padded, Rescaled, VolumeDenoiser, turned_in_turn

ALL_CODES = ["".join(c) for pairs in permutations(("RL", "AP", "SI")) for c in product(*pairs)]


@pytest.mark.parametrize("network", ["RAS", "LPS", "SLA"])
@pytest.mark.parametrize("codes", ALL_CODES)
def test_orientation_there_and_back(codes, network):
    """Coordinates that grow to the right, front and top grow (or fall) along the network's axes as its codes say."""
    shape = (2, 3, 4)
    ramps = torch.zeros(3, *shape)  # right-, front- and upward coordinate of each voxel
    for axis, code in enumerate(codes):
        which = next(i for i, pair in enumerate(("RL", "AP", "SI")) if code in pair)
        sign = 1 if code in "RAS" else -1
        line = sign * torch.arange(shape[axis], dtype=torch.float32)
        ramps[which] += line.view([-1 if i == axis else 1 for i in range(3)])
    orientation = Orientation(codes, network)
    seen = orientation.there(ramps)
    assert torch.equal(orientation.back(seen), ramps)
    for axis, code in enumerate(network):
        which = next(i for i, pair in enumerate(("RL", "AP", "SI")) if code in pair)
        step = seen[which, 0].diff(dim=axis)
        assert (step == (1 if code in "RAS" else -1)).all()


def test_wrong_axes_are_refused():
    for codes in ("RRS", "RA", "XYZ"):
        with pytest.raises(ValueError, match="are not three of"):
            Orientation(codes)


def shift_free(x, sigma):
    return 2 * x + sigma


@pytest.mark.parametrize("patch", [None, (8, 8, 8), (64, 64, 64), (12, 8, 16)])
def test_patches_of_a_pointwise_network_are_seamless(patch):
    volume = torch.randn(2, 13, 21, 18, generator=torch.Generator().manual_seed(0))
    denoise = VolumeDenoiser(shift_free, Orientation("RAS", "LPS"), patch=patch, multiple=4)
    assert torch.allclose(denoise(volume, 0.5), 2 * volume + 0.5, atol=1e-5)


def test_sizes_are_multiples():
    seen = []

    def record(x, sigma):
        seen.append(tuple(x.shape[2:]))
        return x

    volume = torch.randn(1, 13, 21, 18)
    for patch in (None, (8, 8, 8), (64, 64, 64)):
        VolumeDenoiser(record, Orientation("RAS"), patch=patch, multiple=8)(volume, 0.1)
    assert all(n % 8 == 0 for shape in seen for n in shape)


def test_a_fixed_field_of_view_is_centred_and_loses_nothing_outside():
    volume, background = torch.randn(2, 10, 6, 9), torch.randn(10, 6, 9)
    seen = []

    def network(x, sigma):
        seen.append(x)
        return 3 * x

    out = VolumeDenoiser(network, Orientation("RAS"), background, shape=(6, 12, 9))(volume, 0.25)
    assert seen[0].shape == (2, 1, 6, 12, 9)
    assert torch.equal(seen[0][:, 0, :, 3:9], volume[:, 2:8])
    margin = torch.cat([seen[0][:, 0, :, :3], seen[0][:, 0, :, 9:]], dim=2)
    assert float(margin.mean()) == pytest.approx(-1, abs=0.05)
    assert float(margin.std()) == pytest.approx(0.25, rel=0.1)
    assert torch.equal(out[:, 2:8], 3 * volume[:, 2:8])
    assert torch.equal(out[:, :2], background[:2].expand(2, -1, -1, -1))
    assert torch.equal(out[:, 8:], background[8:].expand(2, -1, -1, -1))


@pytest.mark.parametrize(("axes", "network"), [("RAS", "RAS"), ("RAI", "RAS"), ("SAR", "LPI")])
def test_a_long_neck_is_what_a_fixed_field_of_view_leaves_out(axes, network):
    along = next(i for i, code in enumerate(axes) if code in "SI")
    volume = torch.randn(1, 8, 8, 8)
    top = [slice(None)] * 4
    top[1 + along] = slice(3, 8) if axes[along] == "S" else slice(0, 5)
    shape = tuple(5 if code in "SI" else 8 for code in network)
    out = VolumeDenoiser(lambda x, sigma: 3 * x, Orientation(axes, network), shape=shape)(volume, 0.25)
    expected = volume.clone()
    expected[tuple(top)] *= 3
    assert torch.equal(out, expected)


@pytest.mark.parametrize("patch", [None, (8, 8, 8)])
def test_a_conditioned_3d_prior_is_told_of_the_scan_patch_by_patch(patch):
    volume, scan = torch.randn(2, 13, 21, 18), torch.randn(13, 21, 18)

    def echo(x, sigma, condition):
        assert {float(v) for v in condition.spacing_px} == {4.0}
        return condition.image.clone()  # MONAI weights outputs in place

    numbers = (3.0, 4.0, 0.5)
    denoise = VolumeDenoiser(echo, Orientation("RAS", "LPS"), scan, patch=patch, multiple=4, numbers=numbers)
    assert torch.allclose(denoise(volume, 0.1), scan.expand(2, -1, -1, -1), atol=1e-5)
    with pytest.raises(ValueError, match="interpolated scan"):
        VolumeDenoiser(echo, Orientation("RAS"), numbers=numbers)(volume, 0.1)


def test_a_turned_prior_sees_every_mirror_and_keeps_the_slice_axis_last():
    """A network that marks a corner, and less its neighbour along the first axis, marks all eight of the volume."""
    seen = []

    def corner(x, sigma):
        seen.append(tuple(x.shape[2:]))
        out = torch.zeros_like(x)
        out[..., 0, 0, 0], out[..., 1, 0, 0] = 1, 0.5
        return out

    turns = turned_in_turn(VolumeDenoiser(corner, Orientation("RAS", "RAS"), patch=(4, 5, 6)))
    marks = [turn(torch.zeros(1, 4, 5, 6), 0.1)[0] for turn in turns]
    assert len({int(mark.argmax()) for mark in marks}) == 8
    assert seen == [(4, 5, 6), (5, 4, 6)] * 4  # a patch each
    for i, mark in enumerate(marks):
        assert int((mark.nonzero()[0] - mark.nonzero()[1]).abs().argmax()) == i % 2  # the axis the neighbour lies along
    pointwise = turned_in_turn(VolumeDenoiser(lambda x, s: 2 * x, Orientation("LPS", "LPS")))
    volume = torch.randn(2, 4, 5, 6)
    assert all(torch.equal(turn(volume, 0.1), 2 * volume) for turn in pointwise)


def test_rescaling_is_a_change_of_units():
    """The best denoiser of N(-0.2, 0.5^2), told in units 0.7 times as large about air, is the same denoiser."""

    def native(x, sigma, gain=0.7):
        mean, spread = gain * (-0.2 + 1) - 1, gain * 0.5
        return mean + spread**2 / (spread**2 + sigma**2) * (x - mean)

    x = torch.randn(4, 4, dtype=torch.float64)
    expected = -0.2 + 0.25 / (0.25 + 0.09) * (x + 0.2)
    assert torch.allclose(Rescaled(native, 0.7)(x, 0.3), expected)


def test_padding_to_a_multiple():
    def network(x, sigma):
        assert x.shape[-1] % 8 == 0
        assert x.shape[-2] % 8 == 0
        return 2 * x

    x = torch.randn(2, 1, 9, 16)
    assert torch.equal(Padded(network, 8)(x, 0.1), 2 * x)


def test_a_fixed_field_of_view_does_not_depend_on_the_batch():
    """The air around a small volume is the same for every item."""
    seen = []

    def network(x, sigma):
        seen.append(x.clone())
        return x

    volumes = torch.randn(3, 6, 7, 8)
    denoise = VolumeDenoiser(network, Orientation("RAS"), None, (12, 12, 12))
    together = denoise(volumes, 0.5)
    alone = torch.cat([denoise(volume[None], 0.5) for volume in volumes])
    assert torch.equal(together, alone)
    assert torch.equal(seen[0], torch.cat(seen[1:]))
