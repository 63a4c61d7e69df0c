"""Samples around a mean: they hold to the scan, and to their seed."""

import numpy as np
import pytest
import torch

from focvs.commands.overrides import compose
from focvs.priors.planes import PlaneDenoiser
from focvs.reconstruction.residuals import SIGMAS, TOLD, residual_sigmas


def test_samples_around_the_mean_reproduce_the_scan_and_leave_mean_and_maps_alone(posed, told):
    case, _ = posed
    alone, few = told(), told("samples=2", "sampler.levels=3")
    assert np.array_equal(few.mean, alone.mean) and len(few.samples) == 2
    assert np.array_equal(few.deviation, alone.deviation)
    first, second = few.samples
    inside = few.sampled
    assert np.abs(first - second)[inside].mean() > 0.1 * few.deviation[inside].mean()
    for sample in few.samples:
        seen = case.acquisition.written(torch.from_numpy(sample).double()).numpy()
        assert np.abs(seen - case.scan.data).max() < 1e-5 * np.ptp(case.scan.data)
    assert np.array_equal(told("samples=1", "sampler.levels=3").samples[0], first)  # whatever comes after it
    assert not np.array_equal(told("samples=1", "sampler.levels=3", "seed=1").samples[0], first)
    together = told("samples=2", "sampler.levels=3", "batch=2")
    assert all(np.allclose(a, b, atol=1e-3) for a, b in zip(together.samples, few.samples, strict=True))
    other = told("samples=1", "sampler.levels=3", "planes=average").samples[0]
    assert not np.allclose(other, first)


def test_every_sample_has_a_plane_and_a_mirror_and_is_told_of_less_noise(told, monkeypatch):
    seen, call = [], PlaneDenoiser.__call__

    def noted(self, x, sigma):
        if self.outside == 0.0:  # the residual's
            seen.append((self.across, self.flips, sigma))
        return call(self, x, sigma)

    monkeypatch.setattr(PlaneDenoiser, "__call__", noted)
    told("samples=4", "sampler.levels=2")
    levels = sorted({sigma for *_, sigma in seen})
    assert levels == pytest.approx([TOLD * sigma for sigma in reversed(SIGMAS)])
    ways = [(across, flips) for across, flips, sigma in seen if sigma == levels[0]]
    assert sorted(across for across, _ in ways) == [0, 0, 1, 1] and len(set(ways)) == 4
    assert sorted(ways) == sorted((across, flips) for across, flips, sigma in seen if sigma == levels[1])


def test_they_fill_the_head_alone(told):
    """Outside of it a sample is the mean, and differs by what the last replacement gives back."""
    restoration = told("samples=1", "sampler.levels=2", "consistency=none", "final_replacement=false")
    outside = ~restoration.sampled
    assert np.array_equal(restoration.samples[0][outside], restoration.mean[outside])


@pytest.mark.parametrize("levels", [2, 10])
def test_levels_reach_from_nothing_known_to_nothing_open(levels):
    sigmas = residual_sigmas(compose("config", ["scan=head.nii.gz", f"sampler.levels={levels}"]))
    assert len(sigmas) == levels and (float(sigmas[0]), float(sigmas[-1])) == pytest.approx(SIGMAS)
