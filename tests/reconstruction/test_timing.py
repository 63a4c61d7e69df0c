import time

import torch

from focvs.acquisition.grid import make_grid
from focvs.acquisition.operator import ThroughPlaneOperator
from focvs.acquisition.profile import gaussian_profile
from focvs.reconstruction.timing import Stopwatch, TimedConsistency
from focvs.sampling.consistency import Consistency


def test_laps_add_up_by_name_even_where_something_fails():
    clock = Stopwatch()
    for _ in range(2):
        with clock.lap("a"):
            time.sleep(0.01)
    try:
        with clock.lap("b"):
            raise KeyError
    except KeyError:
        pass
    assert clock.seconds["a"] >= 0.02 and clock.seconds["b"] >= 0


def test_a_timed_rule_does_as_the_rule():
    operator = ThroughPlaneOperator(gaussian_profile(4.0), make_grid(6, 4.0, 1.0))
    rule, clock = Consistency("ddnm", operator), Stopwatch()
    timed = TimedConsistency(rule, clock)
    d, y = torch.randn(3, operator.matrix.shape[1]), torch.randn(3, 6)
    assert torch.equal(timed.replace(d, y, 0), rule.replace(d, y, 0))
    assert clock.seconds["replacement"] > 0 and timed.renoise is None
