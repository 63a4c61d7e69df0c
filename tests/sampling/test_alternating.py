from dataclasses import replace

import numpy as np
import torch

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.sampling.alternating import AlternatingConsistency, OtherStack
from focvs.sampling.consistency import Consistency
from stacked import SHAPE, sideways


def both_rules():
    """Rules of an axial and a sideways stack of noise-free slices of one random volume, and all of them as matrices."""
    profile = gaussian_profile(3.0)
    first = ThroughPlaneOperator(profile, make_grid(5, 3.0, 1.0, 0.0))  # without margins
    other = sideways()
    truth = torch.randn(SHAPE, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    rule = Consistency("ddnm", first)
    further = OtherStack(other, other(truth), Consistency("ddnm", other.operator))
    return truth, rule, AlternatingConsistency(rule, [further]), other


def test_alternating_replacement_ends_near_the_start_in_what_both_stacks_allow():
    truth, rule, stacked, other = both_rules()
    y = rule.operator(truth)
    x = start = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    for _ in range(40):
        x = stacked.replace(x[None], y, 0)[0]
    assert float((rule.operator(x) - y).abs().max()) < 1e-5
    assert float(other.residual(x.double(), other(truth)).abs().max()) < 1e-3
    # densely: how far the nearest such volume is
    units = torch.eye(int(np.prod(SHAPE)), dtype=torch.float64).view(-1, *SHAPE)
    seen = torch.stack([other(u)[other.covered] for u in units])
    rows = torch.cat([rule.operator(units).flatten(1), seen], dim=1).T
    wanted = rows @ (truth - start.double()).flatten()
    least = torch.linalg.lstsq(rows, wanted[:, None], driver="gelsd").solution.square().sum()
    assert float((x.double() - start.double()).square().sum()) < 1.1 * float(least)


def test_draws_repeat_and_differ():
    truth, _, stacked, _ = both_rules()
    rule = replace(stacked.first, spectra=torch.full((1, SHAPE[2]), 0.01, dtype=torch.float64), noise_sigma=0.1)
    noisy = replace(stacked.others[0], rule=replace(stacked.others[0].rule, noise_sigma=0.1))
    both = AlternatingConsistency(rule, [noisy])
    y = rule.operator(truth)
    noise = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(4))
    scan_noise = torch.zeros(2, *y.shape)
    draws = [both.draw(truth[None].float().expand(2, *SHAPE), y, 0, noise, scan_noise) for _ in range(2)]
    assert torch.equal(*draws)
    quiet = AlternatingConsistency(rule, [replace(noisy, rule=replace(noisy.rule, noise_sigma=0.0))])
    difference = draws[0] - quiet.draw(truth[None].float().expand(2, *SHAPE), y, 0, noise, scan_noise)
    assert difference[0].abs().max() > 0.01 and not torch.allclose(difference[0], difference[1])
    still = both.draw(truth[None].float(), y, 0, torch.zeros(1, *SHAPE), scan_noise[:1])
    assert torch.allclose(still, stacked.replace(truth[None], y, 0), atol=1e-5)
