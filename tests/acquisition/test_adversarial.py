import json
from functools import partial

import numpy as np
import pytest
import torch

from focvs.acquisition.adversarial import _logits, _mixture, estimate_adversarially
from focvs.acquisition.profile import gaussian_profile, make_profile, rect_profile, sampled_profile
from focvs.acquisition.simulation import simulate_slices
from focvs.cli import main
from scans import isotropic_field


def scan_of(kind, fwhm_mm, spacing_mm, shape=(80, 80, 96)):
    y = torch.from_numpy(simulate_slices(isotropic_field(shape), 1.0, make_profile(kind, fwhm_mm), spacing_mm))
    return y, torch.ones_like(y, dtype=torch.bool)


@pytest.mark.parametrize("make", [gaussian_profile, rect_profile])
def test_copies_add_up(make):
    copies = [make(width) for width in (2.0, 4.0, 5.0)]
    weights = torch.tensor([0.25, 0.75, 0.0], dtype=torch.float64)
    z = torch.linspace(-6, 6, 49, dtype=torch.float64)
    expected = 0.25 * copies[0].cumulative(z) + 0.75 * copies[1].cumulative(z)
    mixture = _mixture(weights, copies)
    assert (mixture.cumulative(z) - expected).abs().max() < 2e-3
    assert mixture.half_support_mm == pytest.approx(copies[1].half_support_mm, rel=0.02)


@pytest.mark.parametrize("make", [gaussian_profile, rect_profile])
@pytest.mark.parametrize("fwhm_mm", [2.3, 4.0, 7.1])
def test_before_the_windows_say_anything_the_profile_is_nearly_one_copy(make, fwhm_mm):
    copies = [make(width) for width in np.geomspace(0.5, 12, 40)]
    profile = _mixture(_logits(torch.tensor(fwhm_mm).log().double(), copies).softmax(0), copies)
    assert profile.fwhm_mm == pytest.approx(fwhm_mm, rel=0.06)
    z = torch.linspace(-6, 6, 49, dtype=torch.float64)
    assert (profile.cumulative(z) - make(fwhm_mm).cumulative(z)).abs().max() < 0.03


@pytest.mark.parametrize(("kind", "fwhm_mm", "spacing_mm"), [("gaussian", 4, 4), ("gaussian", 3, 4), ("rect", 5, 5)])
def test_the_width_of_an_isotropic_field_is_found(kind, fwhm_mm, spacing_mm):
    scan = scan_of(kind, fwhm_mm, spacing_mm)
    found = estimate_adversarially(*scan, (1.0, 1.0), spacing_mm, partial(make_profile, kind), seeds=3)
    assert found.profile.fwhm_mm == pytest.approx(fwhm_mm, rel=0.08)
    assert found.low_mm < fwhm_mm < found.high_mm < 3 * found.low_mm
    density = found.profile.density
    assert density is not None
    torch.testing.assert_close(density, density.flip(0))
    assert np.abs(np.log(found.through_plane[2:] / found.in_plane[2:])).mean() < 0.2


def test_overlapping_slices_are_looked_for_among_wider_profiles():
    found = estimate_adversarially(*scan_of("gaussian", 6, 4), (1.0, 1.0), 4.0, seeds=2)
    assert found.profile.fwhm_mm == pytest.approx(6, rel=0.1)


def test_more_detail_expected_across_slices_means_more_blur():
    y, mask = scan_of("gaussian", 4, 4)
    known, unknown = (0.0, 0.1), (0.8, 100.0)

    def width(first, second):
        return estimate_adversarially(y, mask, (1.0, 1.0), 4.0, anisotropy=(first, second), seeds=2).profile.fwhm_mm

    assert 1.05 * width(known, unknown) < width((0.3, 0.1), unknown) < 4.8


def test_scans_that_do_not_tell_are_refused():
    y, mask = scan_of("gaussian", 4, 4)
    with pytest.raises(ValueError, match="the head covers 6 slices"):
        estimate_adversarially(y[..., :6], mask[..., :6], (1.0, 1.0), 4.0)
    with pytest.raises(ValueError, match="shows detail"):
        estimate_adversarially(torch.ones_like(y), mask, (1.0, 1.0), 4.0)
    smooth = y.mean(-1, keepdim=True) + 1e-3 * torch.linspace(0, 1, y.shape[-1])
    with pytest.raises(ValueError, match="tell the width of its slice profile no better than"):
        estimate_adversarially(smooth, mask, (1.0, 1.0), 4.0, seeds=2)
    noisy = y.mean(-1, keepdim=True) + 1e-2 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match="look alike at no width"):
        estimate_adversarially(noisy, mask, (1.0, 1.0), 4.0, seeds=2)
    with pytest.raises(ValueError, match="seeds=1"):
        estimate_adversarially(y, mask, (1.0, 1.0), 4.0, seeds=1)


@pytest.mark.slow
def test_the_command_has_both_methods(field_scan, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["profile", str(field_scan), str(out), "method=adversarial", "seeds=2"]) == 0
    report = json.loads((out / "scan_profile.json").read_text())
    assert (report["method"], report["profile"]) == ("adversarial", "gaussian")
    assert report["fwhm_mm"] == pytest.approx(4.0, rel=0.2)
    assert set(report["fwhm_of_other_shapes_mm"]) == {"rect", "slr"}
    written = sampled_profile(torch.from_numpy(np.load(out / "scan_profile.npy")))
    assert written.fwhm_mm == pytest.approx(report["fwhm_mm"], rel=0.03)
    assert main(["profile", str(field_scan), "method=guess"]) == 1
    assert "choose one of spectral, adversarial" in capsys.readouterr().err
    assert main(["profile", str(field_scan), "method=adversarial", "seeds=1"]) == 1
    assert "give at least 2" in capsys.readouterr().err
