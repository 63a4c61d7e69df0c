import pytest
import torch

from focvs.reconstruction import self_super_resolution
from focvs.reconstruction.baselines import METHODS
from problems import problem_of


@pytest.mark.slow
def test_self_super_resolution_learns_from_the_scan(baseline_head, monkeypatch):
    monkeypatch.setattr(self_super_resolution, "BATCH", 4)
    learned, start = (METHODS[n](problem_of(baseline_head, steps=80)) for n in ("self_super_resolution", "replaced"))
    assert float((learned - baseline_head).square().mean()) < 0.97 * float((start - baseline_head).square().mean())
    twice = [METHODS["self_super_resolution"](problem_of(baseline_head[:, 20:44], steps=2)) for _ in range(2)]
    assert torch.equal(*twice)
