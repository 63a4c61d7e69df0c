"""The projection onto both sets, against scipy's solver and against its own conditions."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.reconstruction import nonnegative
from focvs.reconstruction.nonnegative import HELD, project_nonnegative

WHITE = 6.0  # about the largest of the truths


def operator(missing=()):
    profile = gaussian_profile(4.0)
    return ThroughPlaneOperator(profile, make_grid(8, 5.0, 1.0, profile.half_support_mm), "edge", missing)


def columns(count=40, seed=0):
    """Truths that are zero in places, what an estimate far off makes of them, and their slices."""
    rng = np.random.default_rng(seed)
    a = operator()
    truth = torch.from_numpy(rng.gamma(0.6, 1.0, (count, a.matrix.shape[1]))).float()
    scan = a(truth.double())
    estimate = a.replace(truth.double() + torch.from_numpy(rng.normal(0, 0.6, truth.shape)), scan)
    return a, truth, estimate.float(), scan.float()


def test_the_result_is_in_both_sets_and_nearer_to_the_truth(monkeypatch):
    monkeypatch.setattr(nonnegative, "MOST", 1.0)
    a, truth, estimate, scan = columns()
    assert float(estimate.min()) < -0.3
    found = estimate.clone()
    project_nonnegative(found, scan, a, WHITE)
    assert float((a(found.double()) - scan).abs().max()) < 3 * HELD * WHITE
    reached = found.min(1).values > -1e-6
    assert reached.float().mean() > 0.6 and float(found.min()) > 0.2 * float(estimate.min())
    before, after = ((v - truth).square().sum(1) for v in (estimate, found))
    assert (after[reached] <= before[reached] + 1e-6).all()  # both sets are convex and hold the truth


def test_it_is_the_nearest_such_volume(monkeypatch):
    monkeypatch.setattr(nonnegative, "MOST", 1.0)
    a, _, estimate, scan = columns(6, seed=3)
    found = estimate.clone()
    project_nonnegative(found, scan, a, WHITE)
    matrix = a.matrix.numpy()
    for x, start, y in zip(found.double().numpy(), estimate.double().numpy(), scan.double().numpy(), strict=True):
        if x.min() < -1e-6:
            continue
        best = minimize(
            lambda v, s=start: ((v - s) ** 2).sum() / 2,
            x.clip(0),
            jac=lambda v, s=start: v - s,
            bounds=[(0, None)] * len(start),
            constraints={"type": "eq", "fun": lambda v, m=y: matrix @ v - m, "jac": lambda v: matrix},
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        assert ((x - start) ** 2).sum() / 2 <= best.fun * (1 + 1e-3) + 1e-6


def test_columns_above_zero_are_left_alone_and_impossible_ones_stay_exact():
    a, _, _, _ = columns()
    positive = torch.full((3, a.matrix.shape[1]), 2.0)
    before = positive.clone()
    project_nonnegative(positive, a(positive), a, 1.0)
    assert torch.equal(positive, before)
    alone = torch.zeros(1, 8)
    alone[0, 4] = 1.0  # one bright slice between black ones: neighbours share its voxels
    volume = a.pseudo_inverse(alone.double()).float()
    lowest = float(volume.min())
    project_nonnegative(volume, alone, a, 1.0)
    assert float((a(volume.double()) - alone).abs().max()) < 10 * HELD
    assert lowest < float(volume.min()) < 0 and float(volume.max()) < 1.6  # nothing runs away


def test_another_floor_is_the_same_problem_shifted():
    a, _, estimate, scan = columns(10)
    plain, shifted = estimate.clone(), estimate - 3
    project_nonnegative(plain, scan, a, WHITE)
    project_nonnegative(shifted, scan - 3, a, WHITE, floor=-3.0)
    assert torch.allclose(shifted + 3, plain, atol=1e-4)


@pytest.mark.parametrize("shape", [(5, 8), (40,)])
def test_any_shape_and_missing_slices(shape):
    _, truth, _, scan = columns()
    b = operator(missing=(3,))
    volume = b.replace(truth.double() - 0.4, scan.double()).float().view(*shape, -1)
    project_nonnegative(volume, scan.view(*shape, -1), b, WHITE)
    residual = b.residual(volume.double(), scan.view(*shape, -1).double())
    assert float(residual.abs().max()) < 3 * HELD * WHITE and float(volume.min()) > -0.2
