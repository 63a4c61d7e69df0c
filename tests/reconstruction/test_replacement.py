"""Rules of a case at every level of its plan."""

from dataclasses import replace

import pytest
import torch

from focvs.priors.error_table import ErrorTable
from focvs.priors.prior import Prior
from focvs.reconstruction.plan import make_plan
from focvs.reconstruction.replacement import replacement_of

FLAT = ErrorTable(torch.tensor([0.1, 1.0]), torch.full((2, 4), 0.01), 1.0)


@pytest.fixture
def planned(posed, tmp_path):
    case, config = posed
    case = replace(case, prior=Prior(torch.nn.Identity(), None, "", tmp_path))
    return case, make_plan(case, config), config


def test_a_noiseless_rule_reproduces_the_slices_at_every_level(planned):
    case, plan, config = planned
    rule = replacement_of(case, replace(plan, rule="calibrated", noise_prior=0.0), config, FLAT)
    volume = torch.randn(case.start.shape, generator=torch.Generator().manual_seed(0))
    for level in range(len(plan.sigmas)):
        found = rule.replace(volume[None], case.slices.y[None], level)[0]
        assert float((case.acquisition.sampled(found) - case.slices.y).abs().max()) < 1e-3


def test_the_calibrated_rule_weighs_head_and_air_apart(planned):
    case, plan, config = planned
    told = replacement_of(case, replace(plan, rule="calibrated"), config, FLAT)
    untold = replacement_of(case, replace(plan, rule="ddnm"), config, None)
    assert len(told.support.counts) > 1 and untold.support is None
