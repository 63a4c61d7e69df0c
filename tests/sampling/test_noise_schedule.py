import pytest
import torch

from focvs.sampling.noise_schedule import ancestral_split, karras_sigmas


def test_karras_levels():
    sigmas = karras_sigmas(12, 0.8, 0.02)
    assert float(sigmas[0]) == pytest.approx(0.8)
    assert float(sigmas[-1]) == pytest.approx(0.02)
    assert torch.allclose((sigmas ** (1 / 7)).diff().diff(), torch.zeros(10).double(), atol=1e-12)
    assert karras_sigmas(1, 0.8, 0.02).tolist() == pytest.approx([0.8])


def test_an_ancestral_step_keeps_the_variance():
    for eta in (0.0, 0.4, 1.0):
        kept, fresh = ancestral_split(0.5, 0.2, eta)
        assert (kept * 0.5) ** 2 + fresh**2 == pytest.approx(0.04)
    assert ancestral_split(0.5, 0.2, 0.0)[1] == 0


def test_impossible_schedules_are_refused():
    with pytest.raises(ValueError, match="steps >= 1"):
        karras_sigmas(0)
    with pytest.raises(ValueError, match="start > end"):
        karras_sigmas(4, 0.1, 0.2)
