"""What a network computes in: what is asked for, else what is faster and as good."""

import time

import pytest
import torch

from focvs.errors import InputError
from focvs.priors import precision
from focvs.priors.precision import choose_precision, lay_out, probe

PIXELS = 100


def network(seconds, error=0.0):
    """An evaluation that takes ``seconds`` by its type, and errs in bfloat16."""

    def evaluate(dtype):
        time.sleep(seconds[dtype])
        return torch.zeros(8) + (error if dtype == torch.bfloat16 else 0.0)

    return evaluate


FAST = {torch.float32: 0.012, torch.bfloat16: 0.004}
SLOW = {torch.float32: 0.004, torch.bfloat16: 0.012}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(precision, "BUDGET_SECONDS", 0.05)


@pytest.mark.parametrize(
    ("seconds", "error", "name", "said"),
    [
        (FAST, 0.001, "bfloat16", "times as fast"),
        (SLOW, 0.0, "float32", "not 1.2 times"),
        (FAST, 0.1, "float32", "differs by 0.1"),
        (FAST, float("nan"), "float32", "differs by nan"),
    ],
)
def test_the_probe_takes_the_faster_if_it_is_as_good(seconds, error, name, said):
    found = probe(network(seconds, error), PIXELS)
    assert found.name == name and said in found.reason
    assert found.seconds_per_pixel == pytest.approx(seconds[found.dtype] / PIXELS, rel=0.5)
    assert found.float32_seconds == pytest.approx(seconds[torch.float32], rel=0.5)


def test_without_units_for_it_nothing_is_probed(monkeypatch):
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: False)
    seen = []

    def evaluate(dtype):
        seen.append(dtype)
        return torch.zeros(1)

    found = choose_precision("auto", "cpu", evaluate, PIXELS)
    assert found.name == "float32" and "no units" in found.reason
    assert set(seen) == {torch.float32} and found.seconds_per_pixel > 0


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_what_is_asked_for_is_taken(name):
    assert choose_precision(name, "cpu", network(SLOW), PIXELS).name == name


@pytest.mark.parametrize(("capability", "name"), [((8, 0), "bfloat16"), ((7, 5), "float16")])
def test_a_gpu_is_probed_in_what_it_has(monkeypatch, capability, name):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    seconds = {torch.float32: 0.012, torch.bfloat16: 0.004, torch.float16: 0.004}
    assert choose_precision("auto", "cuda", network(seconds), PIXELS).name == name
    assert choose_precision("auto", "mps", network(seconds), PIXELS).name == "float32"
    overflow = lambda dtype: torch.full((4,), 0.0 if dtype == torch.float32 else float("inf"))  # noqa: E731
    assert choose_precision("auto", "cuda", overflow, PIXELS).name == "float32"


@pytest.mark.parametrize(("asked", "said"), [("double", "choose one of auto"), ("float16", "for GPUs")])
def test_impossible_precisions_are_one_sentence(asked, said):
    with pytest.raises(InputError, match=said):
        choose_precision(asked, "cpu", network(SLOW), PIXELS)


def test_the_layout_changes_no_value():
    layers = torch.nn.ModuleList([torch.nn.Conv2d(4, 6, 3), torch.nn.Conv3d(4, 6, 3), torch.nn.Linear(3, 2)])
    before = [p.detach().clone() for p in layers.parameters()]
    after = list(lay_out(layers).parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert after[0].is_contiguous(memory_format=torch.channels_last)
    assert after[2].is_contiguous(memory_format=torch.channels_last_3d)
