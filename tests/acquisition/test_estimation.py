from functools import partial
from itertools import permutations

import numpy as np
import pytest
import torch

from focvs.acquisition.estimation import ANISOTROPY, detail_ratios, estimate_profile
from focvs.acquisition.profile import make_profile
from focvs.acquisition.simulation import simulate_slices
from scans import isotropic_field


@pytest.mark.parametrize(
    ("kind", "fwhm_mm", "spacing_mm"),
    [("gaussian", 2.5, 2.5), ("gaussian", 4, 4), ("gaussian", 3, 5), ("gaussian", 6, 6), ("rect", 5, 5), ("slr", 4, 4)],
)
def test_the_width_of_an_isotropic_field_is_found(kind, fwhm_mm, spacing_mm):
    field = isotropic_field()
    y = torch.from_numpy(simulate_slices(field, 1.0, make_profile(kind, fwhm_mm), spacing_mm))
    found = estimate_profile(
        y, torch.ones_like(y, dtype=torch.bool), (1.0, 1.0), spacing_mm, partial(make_profile, kind)
    )
    assert found.profile.kind == kind
    assert found.profile.fwhm_mm == pytest.approx(fwhm_mm, rel=0.07)
    assert found.low_mm < fwhm_mm < found.high_mm
    assert found.high_mm < (2.2 if fwhm_mm == spacing_mm else 6) * found.low_mm  # gaps leave little to compare
    spectra = np.log(found.through_plane[2:] / found.in_plane[2:])
    assert np.abs(spectra).mean() < 0.2


def test_noise_adds_the_same_to_both_spectra():
    y = torch.from_numpy(simulate_slices(isotropic_field(), 1.0, make_profile("gaussian", 5.0), 5.0))
    noisy = y + 0.15 * torch.randn(
        y.shape, generator=torch.Generator().manual_seed(0)
    )  # more than a fifth of the texture
    mask = torch.ones_like(y, dtype=torch.bool)
    without, with_noise = (estimate_profile(v, mask, (1.0, 1.0), 5.0).profile.fwhm_mm for v in (y, noisy))
    assert with_noise == pytest.approx(without, rel=0.04)


def test_axes_count_by_how_well_their_detail_is_known():
    y = torch.from_numpy(simulate_slices(isotropic_field(), 1.0, make_profile("gaussian", 4.0), 4.0))
    mask = torch.ones_like(y, dtype=torch.bool)

    def width(first, second):
        return estimate_profile(y, mask, (1.0, 1.0), 4.0, anisotropy=(first, second)).profile.fwhm_mm

    known, unknown = (0.0, 0.1), (0.8, 100.0)
    assert width(known, unknown) == pytest.approx(4.0, rel=0.07)
    assert width(unknown, known) == pytest.approx(4.0, rel=0.07)
    assert width(known, (0.8, 0.1)) > 1.1 * width(known, unknown)  # more detail across slices is expected, so more blur
    assert np.abs(detail_ratios(y, mask, (1.0, 1.0), 4.0, make_profile("gaussian", 4.0))).max() < 0.15


def test_an_axis_along_which_the_head_is_too_narrow_does_not_count():
    y = torch.from_numpy(simulate_slices(isotropic_field((112, 120, 128)), 1.0, make_profile("gaussian", 4.0), 4.0))
    mask = torch.zeros(y.shape, dtype=torch.bool)
    mask[36:76] = True
    mask[16:96, 60] = True  # a single row is wide
    nonsense, known = (5.0, 0.01), (0.0, 0.2)
    found = estimate_profile(y, mask, (1.0, 1.0), 4.0, anisotropy=(nonsense, known))
    assert found.profile.fwhm_mm == pytest.approx(4.0, rel=0.1)
    assert found.low_mm < 4.0 < found.high_mm and found.windows > 100


def test_heads_have_an_anisotropy_for_every_slice_axis():
    names = ("left-right", "posterior-anterior", "inferior-superior")
    assert set(ANISOTROPY) == set(permutations(names, 2))
    for (across, along), (mean, deviation) in ANISOTROPY.items():
        opposite, other = ANISOTROPY[along, across]  # the same two axes, the slices along the other one
        assert abs(mean + opposite) < max(deviation, other)


def test_pixels_of_any_size_and_only_the_head_count():
    field = isotropic_field((120, 120, 120))
    y = torch.from_numpy(simulate_slices(field, 0.8, make_profile("gaussian", 4.0), 4.0))
    mask = torch.zeros(y.shape, dtype=torch.bool)
    mask[10:110, 10:110] = True
    beyond = y + 50 * ~mask * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    found = estimate_profile(beyond, mask, (0.8, 0.8), 4.0)
    assert found.profile.fwhm_mm == pytest.approx(4.0, rel=0.12)


def test_scans_that_do_not_tell_are_refused():
    field = torch.from_numpy(isotropic_field((64, 64, 64)))
    everywhere = torch.ones_like(field, dtype=torch.bool)
    with pytest.raises(ValueError, match="hardly thicker than the pixels"):
        estimate_profile(field, everywhere, (1.0, 1.0), 1.2)
    with pytest.raises(ValueError, match="the head covers 6 slices every 4 mm and 64 mm"):
        estimate_profile(field[..., :6], everywhere[..., :6], (1.0, 1.0), 4.0)
    holes = everywhere[..., :12] & (torch.arange(12) % 5 > 0)
    with pytest.raises(ValueError, match="too little of the head"):
        estimate_profile(field[..., :12], holes, (1.0, 1.0), 3.0)
    smooth = field.clone()
    smooth[:] = field.mean(-1, keepdim=True) + 1e-3 * torch.linspace(0, 1, 64)  # no detail across slices at all
    with pytest.raises(ValueError, match="agree at no width"):
        estimate_profile(smooth[..., :16], everywhere[..., :16], (1.0, 1.0), 3.0)
