from pathlib import Path

import numpy as np
import pytest
import torch

from focvs.evaluation.denoising import denoising_errors, gain_db, held_out, interpolation_error
from focvs.priors.networks3d import HaarUNet3D
from focvs.priors.own import save_prior
from focvs.priors.pretrained import load_prior
from focvs.priors.prior import Prior
from scans import write_scan


def identity(dimensions: int = 2, **more) -> Prior:
    """A prior that leaves the noise where it is."""

    def denoise(x, sigma, condition=None):
        return x.clone() if dimensions == 3 else x[:, x.shape[1] // 2].unsqueeze(1)

    return Prior(denoise, None, "", Path(), dimensions=dimensions, axes="", **more)


@pytest.fixture
def head(tmp_path, phantom):
    volume = 100 * np.moveaxis(phantom[0], -1, 0)  # superior-inferior first
    affine = np.array([[0, 1.2, 0, 0], [0, 0, 1.2, 0], [1.2, 0, 0, 0], [0, 0, 0, 1.0]])
    return held_out(write_scan(tmp_path / "head.nii.gz", volume.astype(np.float32), affine), every=4)


def test_the_scan_axis_of_an_isotropic_head_is_superior_inferior(head, phantom):
    assert head.isotropic and head.pixel_mm == pytest.approx(1.2)
    assert head.images.shape == phantom[0].shape
    brain = head.images.numpy()[head.masks.numpy()]
    assert np.corrcoef(brain, phantom[0][head.masks.numpy()])[0, 1] == pytest.approx(1)


def test_slices_of_a_multi_slice_scan_stand_alone(thick_scan):
    head = held_out(thick_scan)
    assert not head.isotropic and len(head.images) == 12 and head.pixel_mm == pytest.approx(1.2)
    with pytest.raises(ValueError, match="no neighbours"):
        denoising_errors(identity(), head, None, slab=3)


def test_the_middle_keeps_some_slices(head):
    middle = head.middle(20)
    assert 0 < len(middle.chosen) < len(head.chosen)
    assert (middle.chosen - (len(head.images) - 1) / 2).abs().max() <= 10


def test_an_inverted_head_is_dark_where_it_was_bright(head):
    inverted = head.inverted()
    inside, outside = head.masks, ~head.masks
    assert torch.equal(inverted.images[outside], head.images[outside])
    bright = head.images[inside] > 0
    assert inverted.images[inside][bright].mean() < inverted.images[inside][~bright].mean()
    assert inverted.images.min() >= min(-1, head.images.min())


@pytest.mark.parametrize(("dimensions", "slab"), [(2, 1), (2, 5), (3, 1)])
@pytest.mark.parametrize("told", [True, False])
def test_the_error_of_a_prior_that_does_nothing_is_the_noise(head, dimensions, slab, told):
    slices = head.acquisition(4, 4) if told else None
    errors = denoising_errors(identity(dimensions, conditioned=told), head, slices, slab, (0.1, 0.4))
    assert errors.shape == (2, len(head.chosen))
    assert errors.mean(1).numpy() == pytest.approx([0.01, 0.16], rel=0.05)


def test_a_conditioned_prior_that_trusts_the_scan_gains_nothing_over_it(head):
    slices = head.acquisition(4, 5)
    trusting = Prior(lambda x, sigma, c: c.image[:, 2:3], None, "", Path(), conditioned=True, slab=5)
    errors = denoising_errors(trusting, head, slices, 5)
    gains = gain_db(interpolation_error(head, slices), errors)
    assert gains.abs().max() < 1e-3
    thinner = interpolation_error(head, head.acquisition(2, 2))
    assert (thinner < interpolation_error(head, slices)).all()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_networks_from_disk_are_measured(tmp_path, head, tiny_conditioned_prior, dimensions):
    """Untrained networks answer with what EDM preconditioning leaves: less than the noise where it is large."""
    folder = tiny_conditioned_prior
    if dimensions == 3:
        torch.manual_seed(0)
        folder = tmp_path / "prior"
        save_prior(HaarUNet3D(channels=(8, 8), norm_groups=4, conditioned=True), folder)
    slices = head.acquisition(4, 4)
    errors = denoising_errors(load_prior(folder), head, slices, sigmas=(0.8,))
    assert torch.isfinite(errors).all() and errors.mean() < 0.5 * 0.8**2


@pytest.mark.parametrize(
    ("prior", "shown"),
    [
        (identity(), ["slices alone, without the scan"]),
        (identity(dimensions=3), ["blocks, without the scan"]),
        (
            identity(slab=3, conditioned=True),
            [f"{some}, {told} the scan" for some in ("slabs", "slices alone") for told in ("told of", "without")],
        ),
    ],
)
def test_the_table_names_what_a_prior_is_shown(import_script, head, prior, shown):
    """A prior that leaves the noise errs by it, whatever it is shown."""
    rows = list(import_script("benchmark_denoising").measure(prior, head, head.acquisition(4, 4)))
    assert [row["shown"] for row in rows] == shown
    for row in rows:
        assert float(row["sigma_0.4"]) == pytest.approx(0.4, rel=0.03)
        assert float(row["interpolated"]) > 0


def test_priors_are_named_or_bear_the_name_of_their_folder(import_script):
    named = import_script("benchmark_denoising").named
    assert named("first version=/some/head=2d/ema") == ("first version", Path("/some/head=2d/ema"))
    assert named("checkpoints/head2d") == ("head2d", Path("checkpoints/head2d"))
