import pytest
import torch

from focvs.priors import planes
from focvs.priors.condition import ScanNumbers
from focvs.priors.planes import (
    PIXELS_PER_BATCH,
    SURROUNDINGS,
    AlternatedPlanes,
    AveragedPlanes,
    PlaneDenoiser,
    mirrored_in_turn,
)


def blur(x, sigma):
    """A 2D operation that tells the axes of a slice apart."""
    return x + 10 * x.roll(1, -1) + 100 * x.roll(1, -2) + sigma


def test_each_plane_denoises_its_own_slices():
    volume = torch.randn(2, 5, 6, 7, dtype=torch.float64)
    out = PlaneDenoiser(blur, across=0)(volume, 0.5)
    for b in range(2):
        for i in range(5):
            assert torch.allclose(out[b, i], blur(volume[b, i], 0.5))
    out = PlaneDenoiser(blur, across=1)(volume, 0.5)
    for b in range(2):
        for j in range(6):
            assert torch.allclose(out[b, :, j], blur(volume[b, :, j], 0.5))


def test_batches_of_slices_are_bounded_and_complete():
    sizes = []

    def record(x, sigma):
        sizes.append(x.numel())
        return 2 * x

    volume = torch.randn(1, 90, 80, 100)
    assert torch.equal(PlaneDenoiser(record, across=0)(volume, 0.1), 2 * volume)
    assert len(sizes) > 1
    assert max(sizes) <= PIXELS_PER_BATCH


def test_outside_the_window_stays_the_background():
    volume, background = torch.randn(2, 4, 5, 8), torch.randn(4, 5, 8)
    out = PlaneDenoiser(lambda x, s: 3 * x, 0, slice(2, 6), background)(volume, 0.1)
    assert torch.equal(out[..., 2:6], 3 * volume[..., 2:6])
    assert torch.equal(out[..., :2], background[..., :2].expand(2, -1, -1, -1))
    assert torch.equal(PlaneDenoiser(lambda x, s: 3 * x, 1, slice(2, 6))(volume, 0.1)[..., 6:], volume[..., 6:])


def ball(*shape):
    """A head off the middle of a volume, touching one border."""
    place = torch.meshgrid(*[torch.linspace(-1, 1, n) for n in shape], indexing="ij")
    return sum((p - c) ** 2 for p, c in zip(place, (0.0, -0.5, 0.2), strict=True)) < 0.3


@pytest.mark.parametrize("across", [0, 1])
def test_only_the_surroundings_of_the_head_are_computed(across):
    volume, background, head, sizes = torch.randn(1, 60, 64, 90), torch.randn(60, 64, 90), ball(60, 64, 90), []

    def triple(x, sigma):
        sizes.append(x.numel())
        return 3 * x

    out = PlaneDenoiser(triple, across, None, background, head=head)(volume, 0.1)
    assert torch.equal(out[0][head], 3 * volume[0][head])
    computed = (out[0] == 3 * volume[0]).float()
    assert sum(sizes) == int(computed.sum()) < 0.8 * volume.numel()
    left = computed == 0
    assert torch.equal(out[0][left], background[left])
    within = torch.nn.functional.max_pool1d(head.float().flatten(0, 1)[:, None], 2 * SURROUNDINGS + 1, 1, SURROUNDINGS)
    assert (computed[within.view_as(head) > 0] == 1).all()
    nothing = PlaneDenoiser(triple, across, None, background, head=head, outside=-7.0)(volume, 0.1)
    assert (nothing[0][left] == -7).all() and torch.equal(nothing[0][head], out[0][head])


def test_memory_that_runs_out_halves_what_is_evaluated_and_changes_nothing(monkeypatch):
    monkeypatch.setattr(planes, "_most_pixels", {})
    volume, background, head, done = torch.randn(1, 40, 30, 50), torch.randn(40, 30, 50), ball(40, 30, 50), []
    whole = PlaneDenoiser(blur, 0, None, background, head=head)(volume, 0.1)
    tried = []

    def crowded(x, sigma):
        tried.append(len(x))
        if len(x) > 3:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
        return blur(x, sigma)

    denoise = PlaneDenoiser(crowded, 0, None, background, head=head, done=done.append)
    assert torch.equal(denoise(volume, 0.1), whole)
    assert max(tried) > 3 and sum(done) == pytest.approx(sum(n for n in tried if n <= 3) / 40, abs=0.2)
    tried.clear()
    denoise(volume, 0.1)
    assert max(tried) <= 3  # it is remembered
    with pytest.raises(RuntimeError, match="allocate"):
        PlaneDenoiser(lambda x, s: crowded(torch.cat([x] * 4), s), 0)(volume, 0.1)
    with pytest.raises(ZeroDivisionError):  # anything else is not taken for it
        PlaneDenoiser(lambda x, s: 1 / 0, 0)(volume, 0.1)


def test_fusion():
    members = [PlaneDenoiser(blur, 0), PlaneDenoiser(blur, 1)]
    volume = torch.randn(1, 4, 4, 4)
    first, second = (m(volume, 0.2) for m in members)
    assert torch.allclose(AveragedPlanes(members)(volume, 0.2), (first + second) / 2)
    sigmas = torch.tensor([0.8, 0.4, 0.2], dtype=torch.float64)
    turns = AlternatedPlanes(members, sigmas)
    assert torch.equal(turns(volume, 0.2), first)
    assert torch.allclose(turns(volume, 0.4), members[1](volume, 0.4))


def test_a_conditioned_prior_is_told_of_the_scan_slice_by_slice():
    volume, scan = torch.randn(2, 4, 5, 8), torch.randn(4, 5, 8)

    def echo(x, sigma, condition):
        assert condition.image.shape == x.shape
        assert {float(v) for v in condition.thickness_px} == {3.0}
        assert {float(v) for v in condition.spacing_px} == {4.0}
        assert torch.allclose(condition.noise, torch.tensor(0.5))
        return condition.image

    for across in (0, 1):
        denoise = PlaneDenoiser(echo, across, slice(1, 7), scan, numbers=ScanNumbers(3.0, 4.0, 0.5))
        assert torch.equal(denoise(volume, 0.1), scan.expand(2, -1, -1, -1))
    with pytest.raises(ValueError, match="interpolated scan"):
        PlaneDenoiser(echo, 0, numbers=ScanNumbers(3.0, 4.0, 0.5))(volume, 0.1)


@pytest.mark.parametrize("across", [0, 1])
@pytest.mark.parametrize("flips", [(), (-1,), (-2, -1)])
def test_a_slab_holds_the_slices_beside_each_and_repeats_the_last_ones(across, flips):
    volume, scan = torch.randn(2, 5, 6, 8), torch.randn(5, 6, 8)

    def weigh(x, sigma, condition):
        assert x.shape[1] == 3
        assert condition.image.shape == x.shape
        return (x * torch.tensor([1.0, 10, 100])[:, None, None]).sum(1, keepdim=True) + condition.image[:, :1]

    denoise = PlaneDenoiser(weigh, across, slice(1, 7), scan, (3.0, 4.0, 0.5), flips, slab=3)
    first, last = (edge.unsqueeze(1 + across) for edge in (volume.select(1 + across, 0), volume.select(1 + across, -1)))
    n = volume.shape[1 + across]
    before = torch.cat([first, volume.narrow(1 + across, 0, n - 1)], 1 + across)
    after = torch.cat([volume.narrow(1 + across, 1, n - 1), last], 1 + across)
    told = torch.cat([scan.narrow(across, 0, 1), scan.narrow(across, 0, n - 1)], across)
    expected = before + 10 * volume + 100 * after + told
    assert torch.allclose(denoise(volume, 0.1)[..., 1:7], expected[..., 1:7])


def test_mirrors_are_undone_and_every_plane_passes_each():
    """A network that commutes with mirrors gives the same through all of them; one that shifts is averaged out."""
    volume, scan = torch.randn(1, 6, 5, 8), torch.randn(6, 5, 8)
    planes = [PlaneDenoiser(lambda x, s, c: 2 * x + c.image, a, None, scan, (3.0, 4.0, 0.0)) for a in (0, 1)]
    turns = mirrored_in_turn(planes)
    assert [t.across for t in turns] == [0, 1] * 4
    for across in (0, 1):
        assert len({t.flips for t in turns if t.across == across}) == 4
    for turn in turns:
        assert torch.allclose(turn(volume, 0.1), 2 * volume + scan)
    shifted = mirrored_in_turn([PlaneDenoiser(lambda x, s: x.roll(1, -1), 0)])
    outs = torch.stack([t(volume, 0.1) for t in shifted])
    expected = (volume.roll(1, -1) + volume.roll(-1, -1)) / 2
    assert torch.allclose(outs.mean(0), expected, atol=1e-6)


@pytest.mark.parametrize("across", [0, 1])
def test_gradients_pass_and_activations_are_not_kept(across):
    calls = []

    def square(x, sigma):
        calls.append(x.shape[0])
        return x[:, :1] ** 2 + 2 * x[:, 1:2] + x[:, 2:]

    volume = torch.randn(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    denoiser = PlaneDenoiser(square, across, slab=3)
    weights = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((denoiser(volume, 0.1) * weights).sum(), volume)
    assert len(calls) == 4  # each item, and once more for its gradient
    x, w = volume.detach().movedim(1 + across, 0), weights.movedim(1 + across, 0)
    expected = 2 * w
    expected[:-1] += 2 * x[:-1] * w[1:]
    expected[0] += 2 * x[0] * w[0]  # the first slice stands for the one before it
    expected[1:] += w[:-1]
    expected[-1] += w[-1]
    assert torch.allclose(gradient.movedim(1 + across, 0), expected)


def test_further_volumes_are_told_after_the_scan():
    scan, mean, other, x = torch.randn(4, 6, 7, 8)
    seen = []

    def denoise(slabs, sigma, told):
        seen.append(told.image)
        return told.image[:, 4:5]  # the middle of the second volume

    plane = PlaneDenoiser(denoise, 0, None, scan, ScanNumbers(4.0, 4.0, 0.0), slab=3, further=(mean, other))
    assert torch.equal(plane(x[None], 0.5)[0], mean)
    assert seen[0].shape[1] == 9 and torch.equal(seen[0][:, 7], other[: len(seen[0])])
