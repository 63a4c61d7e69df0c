"""Copies that stay: made once, in the type that is wanted, and gone with what they are copies of."""

import gc

import torch

from focvs.acquisition import resident as module
from focvs.acquisition.resident import resident


def test_a_copy_is_made_once_for_each_type():
    matrix, x = torch.eye(3, dtype=torch.float64), torch.zeros(2)
    assert resident(matrix, torch.zeros(1, dtype=torch.float64)) is matrix
    assert resident(matrix, x).dtype == torch.float32
    assert resident(matrix, x) is resident(matrix, torch.ones(5))
    assert resident(torch.arange(3), x, keep_type=True).dtype == torch.int64
    assert resident(matrix, torch.empty(1, device="meta")).device.type == "meta"


def test_gradients_pass_copies_made_for_them():
    matrix = torch.eye(3, dtype=torch.float64)
    with torch.inference_mode():
        resident(matrix, torch.zeros(3))
    x = torch.ones(3, requires_grad=True)
    (gradient,) = torch.autograd.grad((x @ resident(matrix, x)).sum(), x)
    assert torch.equal(gradient, torch.ones(3))


def test_copies_go_with_the_tensor():
    matrix = torch.eye(4, dtype=torch.float64)
    resident(matrix, torch.zeros(1))
    before = len(module._copies)
    del matrix
    gc.collect()
    assert len(module._copies) < before
