"""Maps sharpened by guides, on a head of two tissues whose thin voxels are known."""

import math
from dataclasses import replace

import pytest
import torch
from scipy import ndimage

import focvs
from focvs.acquisition.truncation import KSpaceTruncation
from focvs.reconstruction.quantitative import Problem, WeightedImage, sharpen_maps
from focvs.reconstruction.signal_domain import REFERENCE, domain_of_images, domain_of_maps
from focvs.signal.sequences import SpinEcho, SpoiledGradientEcho

TISSUES = torch.tensor([[0.7, 0.85, 0.07], [0.82, 1.5, 0.1], [1.0, 4.0, 1.5]], dtype=torch.float64)
REFERENCE_DOMAIN = domain_of_maps((True, True, True))
T1W, T2W = SpoiledGradientEcho(0.02, 0.004, math.radians(25)), SpinEcho(4.0, 0.08)


@pytest.fixture(scope="module")
def head():
    """Truth ``(6, 12, 40, 3)``, operator, measured and restored signals, and how far the latter are off.

    Three tissues in smooth regions; what is restored is smooth across slices.
    """
    generator = torch.Generator().manual_seed(0)
    field = torch.randn(6, 12, 40, generator=generator, dtype=torch.float64)
    field = torch.from_numpy(ndimage.gaussian_filter(field.numpy(), 1.5))
    index = (field > 0.0).long() + (field > field.std()).long()
    maps = TISSUES[index] * (1 + 0.01 * torch.randn(6, 12, 40, 3, generator=generator, dtype=torch.float64))
    operator = focvs.operator(slices=8, spacing_mm=6, thickness_mm=5, voxel_mm=1.2)
    signals = REFERENCE(maps).movedim(-1, 0)
    measured = operator(signals)
    smooth = torch.from_numpy(ndimage.gaussian_filter(signals.numpy(), (0, 0, 0, 2)))
    estimate = operator.replace(smooth, measured)
    size = ndimage.gaussian_filter((estimate - signals).abs().numpy(), (0, 2, 2, 2))
    return maps, operator, measured, estimate, 1.25 * torch.from_numpy(size)


def sharpened(head, guides=(), **options):
    maps, operator, measured, estimate, deviation = head
    mask = torch.ones(maps.shape[:3], dtype=torch.bool)
    return sharpen_maps(Problem(measured, operator, estimate, deviation, mask), guides, rounds=2, **options)


def error(found, maps):
    return (found.maps / maps).log().abs().flatten(0, 2).median(0).values


def guide(maps, sequence, gain=3.0, noise=0.0):
    image = gain * sequence(maps)
    return WeightedImage(
        image + noise * torch.randn(image.shape, generator=torch.Generator().manual_seed(5)), sequence, 0.01
    )


def test_without_guides_density_goes_with_t1_as_coarse_maps_show_it(head):
    maps, operator, measured, estimate, _ = head
    found = sharpened(head)
    assert float((operator(found.signals) - measured).abs().max()) < 1e-3 * float(measured.max())
    each = REFERENCE_DOMAIN.invert(estimate.flatten(1).T).reshape(maps.shape)  # as the signals were restored
    before, after = ((m[..., 0] / maps[..., 0]).log().square().mean() for m in (each, found.maps))
    assert float(after) < 0.95 * float(before)


def test_without_a_relation_and_guides_the_signals_stay(head):
    _, operator, measured, estimate, _ = head
    found = sharpened(head, related=False)
    white = float(measured.max())
    assert float((found.signals - estimate).abs().median()) < 1e-3 * white  # moved where no tissue has such signals
    assert float((operator(found.signals) - measured).abs().max()) < 1e-3 * white


@pytest.mark.parametrize(
    "domain", [domain_of_maps((True, True, True), "map"), domain_of_maps((True, True, False))], ids=["maps", "two"]
)
def test_maps_as_they_are_and_two_of_them_know_no_relation(head, domain):
    maps, operator, *_ = head
    problem = posed(maps, domain, operator, (0, 0, 0, 2))
    assert torch.equal(sharpen_maps(problem).maps, sharpen_maps(problem, related=False).maps)


def test_draws_that_nothing_ties_keep_their_signals_and_others_do_not(head):
    """Where all draws are the estimate, only what is known before differs, and signals that stay do not hear of it."""
    _, operator, *volumes = head
    measured, estimate, deviation = (one[:, :3, :6] for one in volumes)  # a part, to be quick
    mask = torch.ones(estimate.shape[1:], dtype=torch.bool)
    problem = Problem(measured, operator, estimate, deviation, mask, draws=torch.stack([estimate, estimate]))
    apart, tied = (
        (found.deviation / found.maps).flatten(0, 2).median(0).values
        for found in (sharpen_maps(problem, related=related) for related in (False, True))
    )
    assert bool((tied > 3 * apart).all()), (tied, apart)


def test_a_head_that_fills_no_slice_is_fitted_without_that(head):
    maps, operator, measured, estimate, deviation = head
    mask = torch.zeros(maps.shape[:3], dtype=torch.bool)
    mask[2:4, 5:7, 20:22] = True
    problem = Problem(measured, operator, estimate, deviation, mask)
    assert torch.equal(sharpen_maps(problem).maps, sharpen_maps(problem, related=False).maps)


def test_guides_help_the_map_that_they_weight_and_both_help_all(head):
    maps = head[0]
    alone = error(sharpened(head), maps)
    t1w = error(sharpened(head, [guide(maps, T1W)]), maps)
    t2w = error(sharpened(head, [guide(maps, T2W)]), maps)
    both = error(sharpened(head, [guide(maps, T1W), guide(maps, T2W)]), maps)
    assert t1w[1] < 0.7 * alone[1] and t2w[2] < 0.7 * alone[2]
    assert bool((both < 0.8 * alone).all()) and both.sum() < min(t1w.sum(), t2w.sum())


@pytest.mark.parametrize("names", [(T1W,), (T1W, T2W)])
def test_the_maps_reproduce_what_was_measured(head, names):
    maps, operator, measured, *_ = head
    found = sharpened(head, [guide(maps, sequence, noise=0.01) for sequence in names])
    assert float((operator(found.signals) - measured).abs().max() / measured.max()) < 1e-3
    again = operator(REFERENCE(found.maps).movedim(-1, 0))
    assert float((again - measured).abs().max() / measured.max()) < 1e-3
    loose = sharpened(head, [guide(maps, sequence, noise=0.01) for sequence in names], anchored=False)
    assert float((operator(loose.signals) - measured).abs().max() / measured.max()) > 1e-2


def test_gains_are_found_and_do_not_matter(head):
    maps = head[0]
    even, uneven = guide(maps, T1W), guide(maps, T1W)
    slope = torch.linspace(0.95, 1.05, 6, dtype=torch.float64)[:, None, None]
    uneven = WeightedImage(500 * slope * even.image, T1W, 0.01)
    first, second = sharpened(head, [even]), sharpened(head, [uneven])
    assert float(error(second, maps)[1]) < 1.3 * float(error(first, maps)[1])
    assert float(second.gains[0].mean()) == pytest.approx(1500 * float(first.gains[0].mean()) / 3, rel=0.1)


def test_deviations_are_as_large_as_errors(head):
    maps = head[0]
    for guides in ((), (guide(maps, T1W, noise=0.003), guide(maps, T2W, noise=0.003))):
        found = sharpened(head, guides)
        ratio = ((found.maps - maps) / found.deviation).abs().flatten(0, 2).median(0).values / 0.674  # of a Gaussian
        assert bool((ratio > 0.3).all()) and bool((ratio < 3).all()), ratio


def posed(maps, domain, operator, width):
    """A problem whose estimates are smooth, with deviations that are about right."""
    signals = domain.reference(maps).movedim(-1, 0)
    measured = operator(signals)
    smooth = torch.from_numpy(ndimage.gaussian_filter(signals.numpy(), width))
    estimate = operator.replace(smooth, measured)
    size = ndimage.gaussian_filter((estimate - signals).abs().numpy(), (0, 2, 2, 2))
    mask = torch.ones(maps.shape[:3], dtype=torch.bool)
    return Problem(measured, operator, estimate, 1.25 * torch.from_numpy(size), mask, domain)


@pytest.mark.parametrize("found", [(True, True, False), (True, False, True), (False, True, True), (False, True, False)])
def test_maps_that_are_there_are_sharpened_without_the_others(head, found):
    maps, operator, *_ = head
    problem = posed(maps, domain_of_maps(found), operator, (0, 0, 0, 2))
    alone, guided = sharpen_maps(problem), sharpen_maps(problem, [guide(maps, T1W), guide(maps, T2W)])
    columns = [k for k in range(3) if found[k]]
    assert bool((error(guided, maps)[columns] < 0.95 * error(alone, maps)[columns]).all())
    again = operator(problem.domain.reference(guided.maps).movedim(-1, 0))
    assert float((again - problem.measured).abs().max() / problem.measured.max()) < 2e-3


def test_weighted_images_are_sharpened_like_maps(head):
    maps, operator, *_ = head
    domain = domain_of_images([SpinEcho(0.6, 0.015), SpinEcho(4.0, 0.015), SpinEcho(4.0, 0.09)])
    problem = posed(maps * torch.tensor([300.0, 1.0, 1.0]), domain, operator, (0, 0, 0, 2))
    alone, guided = sharpen_maps(problem), sharpen_maps(problem, [guide(maps, T1W), guide(maps, T2W)])
    truth = maps * torch.tensor([300.0, 1.0, 1.0])
    assert bool((error(guided, truth)[1:] < 0.5 * error(alone, truth)[1:]).all())
    assert float(error(guided, truth)[0]) < float(error(alone, truth)[0])


def test_maps_as_they_are_keep_their_means_over_slices_and_signals_do_not(head):
    maps, operator, *_ = head
    as_maps = sharpen_maps(posed(maps, domain_of_maps((True, True, True), "map"), operator, (0, 0, 0, 2)))
    as_signals = sharpen_maps(posed(maps, domain_of_maps((True, True, True)), operator, (0, 0, 0, 2)))
    for k in range(3):
        measured = operator(maps[..., k])
        kept, moved = ((operator(f.maps[..., k]) - measured).abs() / measured.max() for f in (as_maps, as_signals))
        assert float(kept.median()) < 1e-4, k
        assert k == 0 or float(moved.mean()) > 5e-3, k


def test_k_space_that_was_cut_off_is_reproduced(head):
    maps = head[0][:, :, :32]
    operator = KSpaceTruncation(maps.shape[:3], (1, 2, 4))
    problem = posed(maps, domain_of_maps((True, True, True)), operator, (0, 0, 1, 2))
    alone, both = sharpen_maps(problem), sharpen_maps(problem, [guide(maps, T1W), guide(maps, T2W)])
    assert bool((error(both, maps) < 0.8 * error(alone, maps)).all())
    again = operator(REFERENCE(both.maps).movedim(-1, 0))
    assert float((again - problem.measured).pow(2).mean().sqrt() / problem.measured.max()) < 2e-3


@pytest.mark.slow
def test_deviations_of_draws_are_those_of_a_gaussian_posterior(head):
    """Draws with the deviation of the fit give about the deviation of the fit, where nothing is replaced."""
    maps, operator, measured, estimate, deviation = head
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(8, *estimate.shape, generator=generator, dtype=torch.float64)
    mask = torch.ones(maps.shape[:3], dtype=torch.bool)
    problem = Problem(measured, operator, estimate, deviation, mask, draws=estimate + deviation * noise)
    guides = [guide(maps, T1W, noise=0.003), guide(maps, T2W, noise=0.003)]
    drawn = sharpen_maps(problem, guides, anchored=False)
    fitted = sharpen_maps(replace(problem, draws=None), guides, anchored=False)
    assert torch.equal(drawn.maps, fitted.maps)
    ratio = (drawn.deviation / fitted.deviation).flatten(0, 2).median(0).values
    assert bool(((ratio > 0.8) & (ratio < 1.25)).all()), ratio
    kept = sharpen_maps(problem, guides)
    assert float(kept.deviation.mean()) < float(drawn.deviation.mean())  # what was measured is known


@pytest.mark.slow
def test_a_guide_that_shows_nothing_somewhere_says_nothing_there(head):
    maps = head[0]
    half = guide(maps, T1W)
    half.image[:, :, 20:] = 0
    found, none = sharpened(head, [half]), sharpened(head)
    there = (found.maps / none.maps).log().abs()[:, :, 30:, 1].median()
    here = (found.maps / none.maps).log().abs()[:, :, :10, 1].median()
    assert float(there) < 0.3 * float(here)
