import time
from contextlib import nullcontext

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


def test_a_gpu_is_timed_by_its_own_events_and_waited_for_at_the_end(monkeypatch):
    made = []

    class Event:
        def __init__(self, enable_timing):
            self.waited, self.time = False, len(made)
            made.append(self)

        def record(self):
            pass

        def synchronize(self):
            self.waited = True

        def elapsed_time(self, end):
            assert end.waited
            return 1500.0  # milliseconds

    class OnGpu:
        device = torch.device("cuda:0")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    clock = Stopwatch()
    network = clock.timed("network", lambda x: x)
    network(OnGpu())
    network(OnGpu())
    assert len(made) == 4 and not any(event.waited for event in made)
    assert clock.seconds == {"network": 3.0} and clock.seconds == {"network": 3.0}
