from dataclasses import replace

import pytest
import torch


def test_the_start_reproduces_the_scan(posed):
    case, _ = posed
    seen = case.acquisition.sampled(case.start.double())
    assert torch.allclose(seen, case.slices.y.double(), atol=1e-5)
    assert case.head.shape == case.start.shape and 0.2 < case.head.float().mean() < 1


def test_what_a_prior_is_told(posed):
    case, _ = posed
    numbers = case.numbers(0.02)
    voxel = case.acquisition.grid.voxel_mm
    assert tuple(numbers) == pytest.approx((5 / voxel, 6 / voxel, 0.02))


def test_noise_that_is_reproduced_is_that_of_the_written_slices(posed):
    case, _ = posed
    assert case.reproduced_noise_prior == case.slices.noise_prior
    assert replace(case, written_noise_prior=0.3).reproduced_noise_prior == 0.3
