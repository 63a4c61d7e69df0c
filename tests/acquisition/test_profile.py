import math

import numpy as np
import pytest
import torch

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile, make_profile, rect_profile, sampled_profile, slr_profile


@pytest.mark.parametrize("profile", [gaussian_profile(5.0), rect_profile(5.0), slr_profile(5.0)], ids=lambda p: p.kind)
def test_a_scaled_profile_is_the_same_in_other_units(profile):
    z = torch.linspace(-6, 6, 50, dtype=torch.float64)
    scaled = profile.scaled(1 / 0.8)
    assert scaled.fwhm_mm == pytest.approx(5 / 0.8)
    assert torch.allclose(scaled.cumulative(z / 0.8), profile.cumulative(z), atol=1e-9)


@pytest.mark.parametrize("kind", ["gaussian", "rect", "slr"])
@pytest.mark.parametrize("width", [0.7, 3.0, 8.0])
def test_profiles_have_unit_area_are_symmetric_and_have_their_width(kind, width):
    profile = make_profile(kind, width)
    reach = profile.half_support_mm
    z = torch.linspace(-reach, reach, 20001, dtype=torch.float64)
    cumulative = profile.cumulative(z)
    assert cumulative[0] == pytest.approx(0, abs=2e-4)
    assert cumulative[-1] == pytest.approx(1, abs=2e-4)
    assert torch.allclose(cumulative + cumulative.flip(0), torch.ones_like(z), atol=1e-9)
    density = cumulative.diff() / z.diff()
    above = z[1:][density >= density.max() / 2]
    # the SLR pass band ripples, so its maximum is a little above its plateau
    assert float(above[-1] - above[0]) == pytest.approx(width, rel=0.02)
    assert profile.fwhm_mm == pytest.approx(width, rel=1e-6)


def test_gaussian_cumulative_is_the_normal_distribution():
    profile = gaussian_profile(2 * math.sqrt(2 * math.log(2)))  # sigma 1 mm
    assert float(profile.cumulative(torch.tensor(1.0))) == pytest.approx(0.8413447460685429, abs=1e-12)


def test_slr_profile_falls_off_between_a_gaussian_and_a_rectangle():
    z = torch.tensor([2.6], dtype=torch.float64)
    outside = {k: 1 - float(make_profile(k, 4.0).cumulative(z)) for k in ("gaussian", "slr", "rect")}
    assert outside["rect"] == 0
    assert 0 < outside["slr"] < outside["gaussian"]
    assert slr_profile(4.0, time_bandwidth=12).cumulative(z) > slr_profile(4.0, time_bandwidth=4).cumulative(z)


def test_kspace_is_cut_off_at_the_resolution_of_the_partitions():
    """Its spectrum passes what 4 mm partitions can hold, 1/8 per mm, and stops beyond."""
    profile = make_profile("kspace", 4.0)
    assert profile.fwhm_mm == pytest.approx(1.18 * 4.0, rel=0.01)
    edges = torch.linspace(-16, 16, 6401, dtype=torch.float64)
    weights, centres = profile.cumulative(edges).diff(), (edges[1:] + edges[:-1]) / 2
    frequency = torch.tensor([0.0, 0.03, 0.06, 0.09, 0.125, 0.16, 0.2, 0.3]).double()
    response = torch.cos(2 * math.pi * frequency[:, None] * centres) @ weights
    assert torch.allclose(response[:4], torch.ones(4).double(), atol=0.03)
    assert response[4] == pytest.approx(0.5, abs=0.02)
    assert response[5:].abs().max() < 0.03
    assert weights.min() < 0
    grid = make_grid(20, 4.0, 1.0, profile.half_support_mm)
    assert ThroughPlaneOperator(profile, grid).condition_number < 1.5


def test_a_sampled_gaussian_is_the_gaussian():
    z = torch.linspace(-12, 12, 1201, dtype=torch.float64)
    sigma = 4.0 / (2 * math.sqrt(2 * math.log(2)))
    weights = torch.exp(-0.5 * (z / sigma) ** 2)
    exact = gaussian_profile(4.0).cumulative(z)
    for profile in (sampled_profile(torch.stack([z, weights], 1)), sampled_profile(weights, 4.0)):
        assert profile.fwhm_mm == pytest.approx(4.0, rel=1e-3)
        assert torch.allclose(profile.cumulative(z), exact, atol=1e-4)


def test_a_sampled_triangle_integrates_exactly():
    triangle = sampled_profile(torch.tensor([[-1.0, 0.0], [0.0, 1.0], [1.0, 0.0]]))
    z = torch.tensor([-1.5, -0.5, 0.0, 0.5, 1.5])
    assert torch.allclose(triangle.cumulative(z), torch.tensor([0, 0.125, 0.5, 0.875, 1.0]).double(), atol=1e-12)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (np.ones((3, 3)), "shape"),
        (np.array([1.0, -1.0, 1.0]), "non-negative"),
        (np.zeros(5), "non-negative"),
        (np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 1.0]]), "ascend"),
    ],
)
def test_bad_samples_are_refused(samples, words):
    with pytest.raises(ValueError, match=words):
        sampled_profile(torch.from_numpy(samples), 4.0)


def test_bad_names_and_widths_are_refused():
    with pytest.raises(ValueError, match="gaussian, rect, slr"):
        make_profile("sinc", 4.0)
    for maker in (gaussian_profile, rect_profile, slr_profile):
        with pytest.raises(ValueError, match="above 0"):
            maker(0.0)
    with pytest.raises(ValueError, match="FWHM"):
        sampled_profile(torch.ones(5))
